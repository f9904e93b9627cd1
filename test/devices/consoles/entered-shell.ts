/** A console at a real shell's prompt, for tests that run scripts there. */
import { LinuxConsole } from "#/devices/consoles/linux/linux.ts";
import { seeded } from "../../support/random.ts";
import { conversation, newToken, seededToken } from "./conversation.ts";
import { type ShellLineOptions, startShellLine } from "./shell-line.ts";

/** A Linux console at a real shell, entered. */
export async function enteredShell(command: string, options: ShellLineOptions = {}) {
  const line = startShellLine(command, options);
  const talk = conversation(line);
  const random = options.faults?.random;
  const console = new LinuxConsole({ token: random ? seededToken(seeded(9)) : newToken });
  try {
    await talk.hold(console.enter(60_000));
  } catch (error) {
    await line[Symbol.asyncDispose]();
    throw new Error(`not entered, the last that came: ${JSON.stringify(line.last)}`, { cause: error });
  }
  return {
    line,
    talk,
    console,
    async run(script: string, timeout = 30_000) {
      const { code, complete } = await talk.hold(console.run(script, { timeoutMs: timeout }));
      return { code, complete, output: talk.output.toString("latin1") };
    },
    [Symbol.asyncDispose]: () => line[Symbol.asyncDispose](),
  };
}
