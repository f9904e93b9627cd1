/** What the log viewers of GitHub and GitLab understand: groups and annotations. Both are told apart by their own variables. */
import { randomBytes } from "node:crypto";
import { fstatSync } from "node:fs";

export interface CiLog {
  /** Begins the group of a build's output. */
  open(title: string): string;
  close(): string;
  /** Our own line, so that nothing in it is a command. */
  inert(line: string): string;
  /** What draws attention to a build that hasn't passed, after its group. */
  annotate(title: string, text: string): string;
}

/** @returns undefined outside of both */
export function chooseCiLog(environment: NodeJS.ProcessEnv): CiLog | undefined {
  if (environment.GITHUB_ACTIONS !== "true" && environment.GITLAB_CI !== "true") return undefined;
  const log = environment.GITHUB_ACTIONS === "true" ? githubLog() : gitlabLog();
  if (!fstatSync(process.stdout.fd).isFile()) return log;
  // A file of the user's own gets the output alone; our own lines are still in the log.
  const nothing = () => "";
  return { open: nothing, close: nothing, annotate: nothing, inert: log.inert };
}

/**
 * The runner takes each line that begins with ::command, or has ##[command] anywhere in it, for a command, on both streams: a
 * build could set outputs or mask words of the log. So commands are stopped while it writes, until a token that it can't know.
 * All of them go to the stream of the output, because the runner reads the streams independently of each other.
 * Source: "Workflow commands for GitHub Actions", Stopping and starting workflow commands; ActionCommandManager of actions/runner.
 */
function githubLog(): CiLog {
  const token = randomBytes(16).toString("hex");
  return {
    open: (title) => `::group::${commandData(title)}\n::stop-commands::${token}\n`,
    close: () => `::${token}::\n::endgroup::\n`,
    inert: (line) => line.replace(/^(\s*):/, "$1 :").replaceAll("##[", "## ["),
    annotate: (title, text) => `::error title=${commandProperty(title)}::${commandData(text)}\n`,
  };
}

const commandData = (text: string): string =>
  text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A").replaceAll("##[", "## [");

const commandProperty = (text: string): string =>
  commandData(text).replaceAll(":", "%3A").replaceAll(",", "%2C");

/** Source: "CI/CD job logs" of GitLab, Custom collapsible sections. It has no annotations, so the ending stands out in red. */
function gitlabLog(): CiLog {
  let count = 0;
  const marker = (kind: "start" | "end") =>
    `\u001b[0Ksection_${kind}:${Math.floor(Date.now() / 1000)}:labgear_${process.pid}_${count}`;
  return {
    open: (title) => {
      count += 1;
      return `${marker("start")}\r\u001b[0K${title}\n`;
    },
    close: () => `${marker("end")}\r\u001b[0K\n`,
    inert: (line) => line,
    annotate: (title, text) => `\u001b[31;1m${title}: ${text}\u001b[0m\n`,
  };
}
