/** `trust` of a job: what it executes, and what the job itself says of that. */

/** What changes bring, or only the lab's own. */
export type Trust = "changes" | "lab";

/** @param job an entry that may have mistakes */
export function trustOf(job: {
  readonly checkout?: unknown;
  readonly run?: unknown;
  readonly trust?: unknown;
}): Trust {
  if (job.trust === "changes" || job.trust === "lab") return job.trust;
  return whatChangesBring(job.checkout === true, String(job.run ?? "")) === undefined ? "lab" : "changes";
}

/** @returns a warning about a job that says trust: lab and, by all appearances, runs what a change brings */
export function mixedTrust(job: {
  readonly trust: Trust;
  readonly checkout: boolean;
  readonly script?: string;
}): string | undefined {
  if (job.trust === "changes") return undefined;
  const why = whatChangesBring(job.checkout, job.script ?? "");
  return why && `says trust: lab, but ${why}: make sure that no change decides what runs`;
}

function whatChangesBring(checkout: boolean, script: string): string | undefined {
  if (checkout) return "it checks out what a change brings";
  return runsWorkspace(script) ? "it runs a script of its workspace" : undefined;
}

/** Whether a script runs another of the workspace, by all appearances: ./NAME, ../NAME, or by the variable of its folder. */
function runsWorkspace(script: string): boolean {
  const command =
    /^|[;&|(`]|\b(?:then|do|else|exec|env|sh|bash|python3?|perl|ruby|node|source)(?:\s+-\S+)*\s|(?<!\S)\.\s/;
  const file = /\s*["']?(?:\.{1,2}\/|\$\{?(?:LABGEAR_)?WORKSPACE\b)/;
  return new RegExp(`(?:${command.source})${file.source}`, "m").test(script);
}
