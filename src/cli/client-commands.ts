/** The commands that need only a job server. In the npm package they take the place of commands.ts. */
import { catalogue } from "./catalogue.ts";

export const clientCommands = {
  build: { summary: "run a build and follow its output", load: () => import("./build/command.ts") },
  lease: { summary: "have a board for a while", load: () => import("./lease/command.ts") },
  stop: { summary: "stop a running build", load: () => import("./stop.ts") },
  fetch: { summary: "bring a build's results here", load: () => import("./fetch.ts") },
  investigate: {
    summary: "was it the board or the software? Run a failed build again and tell",
    load: () => import("./investigate/command.ts"),
  },
  lab: { summary: "all boxes seen as one lab", load: () => import("./lab.ts") },
  functions: { summary: "what is registered, queued and running", load: () => import("./functions.ts") },
} as const;

export const { commandNames, loadCommand, overview } = catalogue(
  "labgear runs builds on the boxes and boards of a lab, through a Gearman job server.",
  { Commands: clientCommands },
);
