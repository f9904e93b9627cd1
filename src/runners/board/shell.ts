/** Runs a script on the board, over its console, with files before and after. */
import type { JobWork } from "#/config/model.ts";
import type { Console } from "#/devices/consoles/console.ts";
import { shellQuoted, shown } from "#/lib/text.ts";
import { type BoardRun, type BoardVerdict, enter, failed, get, put, runDialogue } from "./board.ts";

/**
 * The script as the board's shell runs it. On Linux it ends at the first command that fails, as on the host, and has the build's
 * variables. Other consoles type it as it is.
 * @internal
 * @returns undefined when it wants an interpreter other than the board's shell
 */
export function shellScript(
  script: string,
  kind: Console["kind"],
  variables: BoardRun["variables"],
  tty = false,
): string | undefined {
  if (kind !== "linux") return script;
  let flags = "-e";
  if (script.startsWith("#!")) {
    const found = /^#![ \t]*(?:\/usr)?\/bin\/sh(?:[ \t]+(-[a-zA-Z]+))?[ \t]*(?:\r?\n|$)/.exec(script);
    if (!found) return undefined;
    flags = found[1] ?? "";
  }
  const exports = Object.entries(variables).map(([name, value]) => `export ${name}=${shellQuoted(value)}\n`);
  const whole = `${exports.join("")}${flags && `set ${flags}\n`}${script}`;
  return tty ? onTerminal(whole) : whole;
}

/**
 * Runs a script on a terminal of its own, by util-linux's or busybox's script(1), or Python. `$0` is in the run's folder, which the
 * console removes.
 */
function onTerminal(script: string): string {
  return `d=\${0%/*}
printf %s ${shellQuoted(script)} >"$d/script"
export d SHELL=/bin/sh
c='stty rows 24 cols 80 -echo -onlcr;s=$d;unset d;sh "$s/script";echo $? >"$s/status"'
if command -v script >/dev/null;then script -qc "$c" /dev/null </dev/null
elif command -v python3 >/dev/null;then python3 -c 'import pty,sys;pty.spawn(["sh","-c",sys.argv[1]])' "$c" </dev/null
else echo "tty: the board has neither script(1) nor python3" >&2;exit 127;fi
read -r s <"$d/status"&&exit "$s"
exit 1
`;
}

/**
 * The script's exit code is the verdict. Files are fetched however the script ended.
 * @throws BoardFailure
 */
export async function runShell(
  run: BoardRun,
  work: Extract<JobWork, { kind: "shell" }>,
): Promise<BoardVerdict> {
  const { console } = run.reservation;
  const script = shellScript(work.script, console.kind, run.variables, work.tty);
  if (script === undefined) {
    const first = shown(work.script.split("\n", 1)[0] ?? "", 100);
    return failed(
      `on a board, a script runs by its sh: ${first} can't be honoured; call the interpreter in the script`,
    );
  }
  await enter(run, run.bootTimeoutMs);
  for (const file of work.put) {
    const problem = await put(run, file);
    if (problem !== undefined) return failed(problem);
  }
  // Only the job's timeout applies, by the signal.
  const timeoutMs = Number.POSITIVE_INFINITY;
  const { code, complete } = await runDialogue(run, console.run(script, { timeoutMs }));
  if (!complete) await run.note("the output is incomplete: bytes were lost on the line");
  let problem: string | undefined;
  for (const file of work.get) problem = (await get(run, file)) ?? problem;
  if (code !== 0) return { ...failed(`the script ended with exit code ${code}`), exitCode: code };
  return problem === undefined ? { passed: true, reason: "the script passed" } : failed(problem);
}
