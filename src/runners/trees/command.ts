/** Starts commands of our own in a process tree, such as git: with pipes instead of a console, and without a place of their own. */
import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { Socket } from "node:net";
import type { Helper } from "#/helper/client.ts";
import type { Account } from "#/host/accounts.ts";
import { signalGroup } from "#/lib/process-group.ts";
import { makePipe } from "../script/output.ts";
import type { Command, CommandEnd, Launch, StartedCommand } from "./tree.ts";

/** As this process's own user. @throws the system's error */
export function startCommand({ file, args, env }: Launch, command: Command): StartedCommand {
  const { cwd, input } = command;
  // The launcher complains on descriptor 3: that goes where the command's own messages go.
  const child = spawn("/bin/sh", ["-c", 'exec "$@" 3>&2', "labgear-command", file, ...args], {
    cwd,
    env: { ...command.env, ...env },
    // In a process group of its own, so that SIGTERM reaches what it starts as well.
    detached: true,
  });
  // A command that ends early doesn't read it.
  child.stdin.on("error", () => {}).end(input);
  const ended = new Promise<CommandEnd>((resolve) => {
    child.once("error", (error) => resolve({ code: null, unstarted: error }));
    child.once("exit", (code) => resolve({ code }));
  });
  const { stdout, stderr, pid = 0 } = child;
  return { stdout, stderr, ended, terminate: async () => signalGroup(pid, "SIGTERM") };
}

/**
 * As another user, by the helper.
 * @param as.group the control group's folder
 * @param as.belongings what becomes the user's before
 * @throws HelperError
 */
export async function startHelpedCommand(
  helper: Helper,
  as: { readonly account: Account; readonly group: string; readonly belongings: readonly string[] },
  { argv, cwd, env, input = "" }: Command,
): Promise<StartedCommand> {
  const { account, group, belongings } = as;
  using ours = new DisposableStack();
  using theirs = new DisposableStack();
  const toUs = async () => {
    const { reader, writer } = await makePipe();
    theirs.adopt(writer, closeSync);
    return { reader: ours.adopt(reader, closeSync), writer };
  };
  const [stdout, stderr] = [await toUs(), await toUs()];
  const inputs = input === "" ? undefined : await makePipe();
  if (inputs) {
    ours.adopt(inputs.writer, closeSync);
    theirs.adopt(inputs.reader, closeSync);
  }
  const started = await helper.start({
    ...{ user: account.name, group, folder: cwd, place: null, argv, env, belongings },
    pipes: [inputs?.reader ?? null, stdout.writer, stderr.writer],
  });
  // From here on the streams close them.
  ours.move();
  if (inputs) new Socket({ fd: inputs.writer, readable: false }).on("error", () => {}).end(input);
  const readable = (fd: number) => new Socket({ fd, readable: true, writable: false });
  return {
    stdout: readable(stdout.reader),
    stderr: readable(stderr.reader),
    ended: endOf(started),
    terminate: () => helper.signal(group, "SIGTERM").catch(() => {}),
  };
}

async function endOf({ inside, ended }: Awaited<ReturnType<Helper["start"]>>): Promise<CommandEnd> {
  try {
    const why = await inside;
    const { code } = await ended;
    return why === "" ? { code } : { code, unstarted: new Error(why) };
  } catch (error) {
    return { code: null, unstarted: error };
  }
}
