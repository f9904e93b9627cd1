/** `labgear status`, and the orders `pause`, `resume`, `drain`, `reload` and `restart`, which answer in a line. */
import type { Command } from "commander";
import { describeOutage } from "#/lib/board-history.ts";
import { type AgentStatus, describeLease, type ExecutorStatus, type NodeStatus } from "#/lib/status.ts";
import { printable } from "#/lib/text.ts";
import { formatElapsed } from "#/lib/units.ts";
import { CommandError } from "./exit.ts";
import { caller, controlTimeoutMs, findAgent, newCommand, withControl } from "./options.ts";
import { type Cell, stateCell, table } from "./table.ts";

export function pause(): Command {
  return orderCommand({
    usage: "pause [NODE] [OPTIONS]",
    description:
      "Takes no new builds until `labgear resume`, even after a restart. Running builds continue; queued ones wait.",
    path: "/pause",
    body: () => ({ who: caller() }),
    answer: ({ name, nodes }, node) => {
      const running = runningOn(nodes, node);
      const still = running > 0 ? `; ${inNumbers(running)} on` : "";
      return `${node ?? name} takes no builds until \`labgear resume${node ? ` ${node}` : ""}\`${still}`;
    },
  })
    .argument("[node]", "the node (default: every node of this box)")
    .option("--reason <text>", "shown wherever the node is shown");
}

export function resume(): Command {
  return orderCommand({
    usage: "resume [NODE] [OPTIONS]",
    description: "Takes builds again, after a pause or a drain.",
    path: "/resume",
    answer: ({ name, nodes }, node) => {
      const held = nodes.filter((one) => one.state === "held" && (node === undefined || one.name === node));
      const reasons = held.map((one) => `${one.name} is held yet: ${one.reasons.join(", ")}`);
      return reasons.length > 0 ? reasons.join("; ") : `${node ?? name} takes builds again`;
    },
  }).argument("[node]", "the node (default: every node of this box)");
}

export function release(): Command {
  return orderCommand({
    usage: "release DEVICE [OPTIONS]",
    description: "Takes a leased board back: the lease ends as ABORTED, and the board proves itself.",
    path: "/release",
    answer: (_, device) => `the lease of ${device} ends, and the board proves itself`,
  }).argument("<device>", "the device that is leased");
}

export function drain(): Command {
  return orderCommand({
    usage: "drain [OPTIONS]",
    description:
      "Takes no new builds and waits until the running ones have ended; leases end after drain-leases. `labgear resume` undoes it.",
    path: "/drain",
    answer: ({ name, state }) =>
      state === "drained"
        ? `${name} has drained: no build runs; \`labgear resume\` takes builds again`
        : `${name} is ${state}: the drain was taken back`,
    waits: true,
  });
}

export function reload(): Command {
  return orderCommand({
    usage: "reload [OPTIONS]",
    description:
      "Reads the configuration again. Running builds keep the one they started with; an invalid file changes nothing.",
    path: "/reload",
    answer: ({ files, nodes }) =>
      `${files.join(", ")} read again: ${nodes.length} ${nodes.length === 1 ? "node" : "nodes"}`,
  });
}

export function restart(): Command {
  return orderCommand({
    usage: "restart --when-idle [OPTIONS]",
    description:
      "Restarts the agent as soon as no build is running, for example after an upgrade. Until then it takes no new builds.",
    path: "/restart",
    answer: ({ name, nodes }) => {
      const running = runningOn(nodes);
      return `${name} restarts ${running > 0 ? `when its builds have ended; ${inNumbers(running)}` : "now"}`;
    },
  })
    .option("--when-idle", "required: a restart in the middle of a build would lose it")
    .hook("preAction", (command) => {
      if (command.opts<{ whenIdle?: true }>().whenIdle) return;
      const reason = "a restart in the middle of a build would lose it: add --when-idle";
      throw new CommandError("usage", `${reason}; see \`labgear restart --help\``);
    });
}

interface Order {
  /** As in `labgear USAGE`. */
  readonly usage: string;
  readonly description: string;
  /** The route on the control socket. */
  readonly path: string;
  /** In a line, from the state after it. */
  readonly answer: (status: AgentStatus, node?: string) => string;
  /** What the request says besides its options. */
  readonly body?: () => Readonly<Record<string, string>>;
  /** The answer comes when the running builds have ended. */
  readonly waits?: true;
}

interface OrderOptions {
  readonly json?: true;
  readonly control?: string;
  readonly reason?: string;
}

/** Builds on a node, or on all. */
function runningOn(nodes: readonly NodeStatus[], name?: string): number {
  const wanted = nodes.filter((node) => name === undefined || node.name === name);
  return wanted.flatMap(({ executors }) => executors).filter(({ build }) => build).length;
}

function inNumbers(running: number): string {
  return running === 1 ? "1 build runs" : `${running} builds run`;
}

function orderCommand({ usage, description, path, answer, waits, body: more }: Order): Command {
  return withControl(newCommand(usage, description))
    .option("--json", "print the resulting status as JSON")
    .action(async (...given: unknown[]) => {
      const command = given.at(-1) as Command;
      const { json, control, reason } = command.opts<OrderOptions>();
      const [node] = command.args;
      const body = {
        ...more?.(),
        ...(node !== undefined && { node }),
        ...(reason !== undefined && { reason }),
      };
      const request = { body, ...(!waits && { timeoutMs: controlTimeoutMs }) };
      const status = await findAgent({ control }).json<AgentStatus>("POST", path, request);
      const text = json ? JSON.stringify(status) : printable(answer(status, node));
      process.stdout.write(`${text}\n`);
    });
}

export function status(): Command {
  return withControl(
    newCommand("status [OPTIONS]", "Shows the agent on this box, its nodes and what they are doing."),
  )
    .option("--json", "print it as JSON")
    .action(async (options: { json?: true; control?: string }) => {
      const status = await findAgent(options).json<AgentStatus>("GET", "/status", {
        timeoutMs: controlTimeoutMs,
      });
      process.stdout.write(options.json ? `${JSON.stringify(status)}\n` : statusText(status));
    });
}

export function statusText(status: AgentStatus): string {
  const servers = status.servers.map(({ server, status: line }) => [server, line]);
  const nodes = status.nodes.flatMap((node): Cell[][] => [
    [node.name, stateCell(node.state), node.classes.join(" ")],
    ...node.reasons.map((reason) => ["", "", reason]),
    ...(node.outage ? [["", "", describeOutage(node.outage)]] : []),
    ...node.executors.map((executor) => [`  executor ${executor.index}`, "", executorText(executor)]),
    ...node.waiting.map(({ job, number }) => ["  waiting", "", `${job}#${number} waits for an executor`]),
  ]);
  const { name, version, state, since, pid } = status;
  const begun = process.stdout.isTTY
    ? `, up ${formatElapsed(Date.now() - Date.parse(since))}`
    : ` since ${since}`;
  return [
    `${name}: labgear ${version}, ${state}${begun}, pid ${pid}\n`,
    `job servers\n${table(["", { fit: "wrap" }], servers, { indent: 2 })}`,
    `nodes\n${table(["", "", { fit: "wrap" }], nodes, { indent: 2 })}`,
  ].join("");
}

function executorText({ build, blockedBy }: ExecutorStatus): string {
  if (blockedBy) return `held until these processes of its last build have ended: ${blockedBy.join(", ")}`;
  if (!build) return "idle";
  const { job, number, phase, progress, lease } = build;
  if (lease) return `${job}#${number} ${phase}: ${describeLease(lease)}`;
  return `${job}#${number} ${phase} ${progress} %`;
}
