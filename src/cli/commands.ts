/** All commands. */
import { catalogue } from "./catalogue.ts";
import { clientCommands } from "./client-commands.ts";

/** The status and the orders to the agent share a file. */
const order =
  (name: "status" | "pause" | "resume" | "release" | "drain" | "reload" | "restart") => async () => ({
    command: (await import("./orders.ts"))[name],
  });

export const { commandNames, loadCommand, overview } = catalogue(
  "labgear turns this box into a node that a Gearman job server hands work to.",
  {
    "Run the agent": {
      agent: { summary: "run the agent in the foreground", load: () => import("./agent.ts") },
      helper: {
        summary: "the helper of the agent that starts builds as root; systemd runs it",
        load: () => import("./helper.ts"),
      },
      gate: { summary: "let CI systems outside the lab run builds", load: () => import("./gate.ts") },
      demo: { summary: "run a whole lab on loopback and show a build", load: () => import("./demo/demo.ts") },
    },
    "Talk to a job server": clientCommands,
    "Talk to the agent on this box": {
      status: { summary: "the agent, its nodes and what they are doing", load: order("status") },
      builds: { summary: "running and finished builds", load: () => import("./builds.ts") },
      show: { summary: "a build: how it ended and why", load: () => import("./show.ts") },
      log: { summary: "a build's console", load: () => import("./log.ts") },
      pause: { summary: "take no new builds", load: order("pause") },
      resume: { summary: "take builds again", load: order("resume") },
      devices: { summary: "the boards on serial links", load: () => import("./devices.ts") },
      release: { summary: "take a leased board back", load: order("release") },
      console: { summary: "a board's console, live", load: () => import("./console.ts") },
      port: { summary: "a paused board's port for programs on this box", load: () => import("./port.ts") },
      drain: { summary: "take no new builds and wait for the running ones", load: order("drain") },
      reload: { summary: "read the configuration again", load: order("reload") },
      restart: { summary: "restart the agent as soon as no build is running", load: order("restart") },
    },
    "Look after the box": {
      setup: {
        summary: "ask a few questions, write the configuration, start the agent",
        load: () => import("./setup.ts"),
      },
      check: { summary: "validate the configuration", load: () => import("./check.ts") },
      doctor: {
        summary: "find out what keeps the agent from working",
        load: () => import("./doctor/doctor.ts"),
      },
      completion: { summary: "completions for a shell", load: () => import("./completion.ts") },
      manual: { summary: "the manual pages", load: () => import("./manual.ts") },
    },
  },
);
