/** Root may read files that the agent can't, and would find nothing wrong: it checks as the agent's user. */
import { readFileSync } from "node:fs";
import { ownProgram } from "#/host/executable.ts";

const agentUser = "labgear";

/** The command line that checks the default configuration as the agent's user; undefined: we aren't root, or there is no such user. */
export function checkAsAgent(): [string, ...string[]] | undefined {
  if (process.getuid?.() !== 0) return undefined;
  if (!/^labgear:/m.test(readFileSync("/etc/passwd", "utf8"))) return undefined;
  const become = ["--reuid", agentUser, "--regid", agentUser, "--init-groups"];
  return ["setpriv", ...become, ...ownProgram(), "check"];
}
