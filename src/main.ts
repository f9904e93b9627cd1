/** Entry: hands over to the command line. */
import { keepSignals } from "./cli/signals.ts";

// Loaded first and alone: a signal that comes while the agent loads and starts would kill it outright.
if (process.argv[2] === "agent") keepSignals(["SIGTERM", "SIGINT", "SIGHUP"]);

void import("./cli/main.ts").then(({ main }) => main());
