/** All commands: name, summary and module. Only the command that runs is loaded. */
import type { Command } from "commander";
import { type CommandTree, describeCommand } from "./tree.ts";

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<{ command: (tree: CommandTree) => Command }>;
}

/** The status and the orders to the agent share a file. */
const order = (name: "status" | "pause" | "resume" | "drain" | "reload" | "restart") => async () => ({
  command: (await import("./orders.ts"))[name],
});

const groups: Record<string, Record<string, Entry>> = {
  "Run the agent": {
    agent: { summary: "run the agent in the foreground", load: () => import("./agent.ts") },
    demo: { summary: "run a whole lab on loopback and show a build", load: () => import("./demo/demo.ts") },
  },
  "Talk to a job server": {
    build: { summary: "run a build and follow its output", load: () => import("./build/command.ts") },
    stop: { summary: "stop a running build", load: () => import("./stop.ts") },
    fetch: { summary: "bring a build's results here", load: () => import("./fetch.ts") },
    functions: { summary: "what is registered, queued and running", load: () => import("./functions.ts") },
  },
  "Talk to the agent on this box": {
    status: { summary: "the agent, its nodes and what they are doing", load: order("status") },
    builds: { summary: "running and finished builds", load: () => import("./builds.ts") },
    log: { summary: "a build's console", load: () => import("./log.ts") },
    pause: { summary: "take no new builds", load: order("pause") },
    resume: { summary: "take builds again", load: order("resume") },
    devices: { summary: "the boards on serial links", load: () => import("./devices.ts") },
    console: { summary: "a board's console, live", load: () => import("./console.ts") },
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
};

const entries = new Map(Object.values(groups).flatMap((group) => Object.entries(group)));

export const commandNames: readonly string[] = [...entries.keys()];

/** @returns the command, ready to parse its arguments; undefined when there is no such command */
export async function loadCommand(name: string): Promise<Command | undefined> {
  return (await entries.get(name)?.load())?.command(tree);
}

const tree: CommandTree = async () =>
  await Promise.all(
    [...entries.values()].map(async ({ summary, load }) =>
      describeCommand((await load()).command(tree), summary),
    ),
  );

/** What `labgear --help` prints. */
export function overview(): string {
  const width = Math.max(...commandNames.map((name) => name.length));
  const sections = Object.entries(groups).map(([title, group]) => {
    const lines = Object.entries(group).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
    return `${title}:\n${lines.join("\n")}\n`;
  });
  return [
    "labgear turns this box into a node that a Gearman job server hands work to.\n",
    "Usage: labgear COMMAND [OPTIONS]\n",
    ...sections,
    "Run labgear COMMAND --help for details, labgear --version for the version.\n",
  ].join("\n");
}
