/** Entry: hands over to the command line. */
import { homedir } from "node:os";
import { keepSignals } from "./cli/signals.ts";

// Loaded first and alone: a signal that comes while the agent loads and starts would kill it outright.
if (process.argv[2] === "agent") keepSignals(["SIGTERM", "SIGINT", "SIGHUP"]);

// A module of conf asks for it as it loads. A container may have neither HOME nor its user in /etc/passwd.
try {
  homedir();
} catch {
  process.env.HOME = "/";
}

void import("./cli/main.ts").then(({ main }) => main());
