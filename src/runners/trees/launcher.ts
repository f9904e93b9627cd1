/**
 * The shells that bring commands into their trees. A command's launcher is its first process; a script's one is started ahead and
 * waits where the script will run, since all that takes long is done then: the fork of a large process, and the way into a control
 * group, for which the kernel waits until all its processors have passed a quiescent state (10 ms and more).
 */
import { closeSync, statSync, write, writeSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { type Child, startChild } from "#/host/children.ts";
import { reason } from "#/lib/errors.ts";
import { shellQuoted } from "#/lib/text.ts";
import { RunnerError } from "../errors.ts";
import { makePipe, OutputPipe } from "../script/output.ts";
import type { Launch, ScriptCommand, Started } from "./tree.ts";

/**
 * When memory runs out, builds are killed first; they leave no core files unless they ask for them. Descriptor 3 takes what goes wrong.
 * @param group of the shell: a word with the directory of its control group
 */
const entering = (group: string) => `
{ echo 0 > ${group}/cgroup.procs; } 2>&3 || exit 125
`;
const settling = `
{ echo 500 > /proc/self/oom_score_adj; } 2>/dev/null
ulimit -S -c 0 2>/dev/null
umask 022
`;

/**
 * $1 is the control group's directory, or empty: an argument, not a variable, to keep the command's environment as given; PWD is unset
 * since the shell adds it, and it can be wrong.
 */
const commandScript = `
if [ -n "$1" ]; then ${entering('"$1"')} fi
${settling}
unset PWD
shift
exec "$@" 3>&-
`;

/** @param options.group the directory of a control group */
export function launcher(
  argv: readonly [string, ...string[]],
  { group = "", env = {} }: { group?: string; env?: Record<string, string> } = {},
): Launch {
  return { file: "/bin/sh", args: ["-c", commandScript, "labgear-launch", group, ...argv], env };
}

/** What the shell that waits reads on descriptor 4, a pipe which ends with the agent: first this, then what becomes of it. */
const waiting = (group: string) => `cd /${group && entering(shellQuoted(group))}${settling}exec 3>&-\n`;

/** What a pipe takes at once, however few pages its user may have (pipe(7)). */
const atomicBytes = 4096;
/** Of a variable or an argument, and of all of them (execve(2)). */
const maxStringBytes = 128 * 1024;
const maxTotalBytes = 2 * 1024 * 1024;
/** Shells give them another meaning, or don't let them be set. */
const shellVariables =
  /^(_|BASH.*|DIRSTACK|E?UID|FUNCNAME|GROUPS|IFS|LINENO|OPT.*|PPID|PS\d|RANDOM|SECONDS|SHELLOPTS)$/;

/**
 *     starting ──in its group──▶ waiting ──become()──▶ the script
 *        └──refused──▶ ended ◀──dispose──┘
 */
export class Launcher implements Disposable {
  readonly output: OutputPipe;
  readonly #child: Child;
  /** Resolves when it waits: with the reason when it can't, else with "". */
  readonly #entered: Promise<string>;
  /** The pipe to its descriptor 4. */
  #program: number | undefined;
  #hasEntered = false;
  #isOver = false;

  private constructor(child: Child, report: number, program: number, output: OutputPipe) {
    this.#child = child;
    this.#program = program;
    this.output = output;
    this.#entered = readAll(new Socket({ fd: report, readable: true, writable: false }));
    void this.#entered.then(() => {
      this.#hasEntered = true;
    });
    void child.ended.then(() => {
      this.#isOver = true;
    });
  }

  /**
   * @param group the directory of its control group
   * @throws RunnerError START
   */
  static async start(group = ""): Promise<Launcher> {
    using child = new DisposableStack();
    using own = new DisposableStack();
    const output = own.use(await OutputPipe.open());
    const report = await makePipe();
    own.adopt(report.reader, closeSync);
    child.adopt(report.writer, closeSync);
    const program = await makePipe();
    own.adopt(program.writer, closeSync);
    child.adopt(program.reader, closeSync);
    try {
      // In a session of its own. Its tree ends it.
      const started = startChild({
        file: "/bin/sh",
        args: ["-c", ". /proc/self/fd/4", "labgear-launch"],
        descriptors: [output.writer, output.writer, report.writer, program.reader],
      });
      output.closeWriter();
      writeSync(program.writer, waiting(group));
      own.move();
      return new Launcher(started, report.reader, program.writer, output);
    } catch (cause) {
      throw new RunnerError("START", `the script can't be started: ${(cause as Error).message}`, { cause });
    }
  }

  /** Whether it can still become something. */
  get waits(): boolean {
    return this.#program !== undefined && !this.#isOver;
  }

  get hasEntered(): boolean {
    return this.#hasEntered;
  }

  /** @throws RunnerError START */
  async become({ argv, cwd, env, place }: ScriptCommand): Promise<Started> {
    if (place && place.network !== "full") {
      const advice = "install the Debian package, or take the option out of the job";
      throw new RunnerError("START", `the job's network can't be restricted here: ${advice}`);
    }
    refuseUnusable(argv, cwd, env);
    const failure = await this.#entered;
    if (failure) throw new RunnerError("START", `the job can't be put into its place: ${failure}`);
    await this.#tell(programOf(argv, cwd, env));
    const { pid, ended } = this.#child;
    // Nothing else keeps this process from ending before it.
    const waiting = setInterval(() => {}, 60_000);
    void ended.then(() => clearInterval(waiting));
    return { pid, output: this.output, inside: Promise.resolve(""), ended };
  }

  async #tell(program: string): Promise<void> {
    if (this.#program === undefined) throw new TypeError("a launcher becomes one script");
    const bytes = Buffer.from(program);
    try {
      if (bytes.length <= atomicBytes) writeSync(this.#program, bytes);
      else for (let at = 0; at < bytes.length; ) at += (await writeTo(this.#program, bytes, at)).bytesWritten;
    } catch (error) {
      // Its exit says it.
      if (reason(error) !== "EPIPE") throw error;
    } finally {
      this.#closeProgram();
    }
  }

  #closeProgram(): void {
    if (this.#program !== undefined) closeSync(this.#program);
    this.#program = undefined;
  }

  /** One that still waits ends. */
  [Symbol.dispose](): void {
    this.#closeProgram();
    this.output[Symbol.dispose]();
  }
}

const writeTo = promisify(write);

function refuseUnusable(argv: readonly string[], cwd: string, env: Readonly<Record<string, string>>): void {
  const strings = [...argv, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  const sizes = strings.map((text) => Buffer.byteLength(text) + 1);
  const total = sizes.reduce((sum, size) => sum + size + 8, 0);
  if (total > maxTotalBytes || sizes.some((size) => size > maxStringBytes)) {
    const advice = "its environment is too large, shorten the build's parameters";
    throw new RunnerError("START", `the script can't be started: E2BIG; ${advice}`);
  }
  try {
    if (statSync(cwd).isDirectory()) return;
  } catch (cause) {
    throw new RunnerError("START", `the script can't be started: ${(cause as Error).message}`, { cause });
  }
  throw new RunnerError("START", `the script can't be started: ${cwd} is no folder`);
}

function programOf(argv: readonly string[], cwd: string, env: Readonly<Record<string, string>>): string {
  const variables = Object.entries(env);
  const through = variables.filter(([name]) => shellVariables.test(name));
  const assignments = (all: readonly (readonly [string, string])[]) =>
    all.map(([name, value]) => `${name}=${shellQuoted(value)}`);
  const exported = variables.filter(([name]) => !shellVariables.test(name));
  const prefix = through.length > 0 ? ["env", ...assignments(through)] : [];
  return [
    `cd ${shellQuoted(cwd)} || exit 125`,
    "unset PWD OLDPWD",
    // A shell may complain about a locale.
    `{ ${assignments(exported)
      .map((one) => `export ${one}\n`)
      .join("")}:; } 2>/dev/null`,
    `exec ${[...prefix, ...argv.map(shellQuoted)].join(" ")} 4<&-`,
    "",
  ].join("\n");
}

async function readAll(stream: Readable): Promise<string> {
  let text = "";
  for await (const chunk of stream) text = (text + String(chunk)).slice(0, 1000);
  return text.trim();
}

/** So many wait at most; each takes some hundred kilobytes. */
const maxWaiting = 16;

interface Ready extends AsyncDisposable {
  readonly waits: boolean;
  /** It is where it has to wait. */
  readonly hasEntered: boolean;
}

/** What waits for scripts: as many as were wanted before they were there. */
export class Ahead<R extends Ready> implements AsyncDisposable {
  readonly #make: () => Promise<R>;
  readonly #waiting: Promise<R | undefined>[] = [];
  #inUse = 0;
  #wanted = 0;
  #closed = false;

  constructor(make: () => Promise<R>) {
    this.#make = make;
  }

  /** @throws what make() throws */
  async take(): Promise<R> {
    this.#inUse += 1;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const ready = await next;
      if (ready?.waits) {
        if (!ready.hasEntered) this.#wantMore();
        return ready;
      }
      await ready?.[Symbol.asyncDispose]();
    }
    this.#wantMore();
    return this.#make();
  }

  #wantMore(): void {
    this.#wanted = Math.min(maxWaiting, this.#wanted + 1);
  }

  /** What was taken is done with, or couldn't be made. */
  release(): void {
    this.#inUse -= 1;
    while (!this.#closed && this.#waiting.length + this.#inUse < this.#wanted)
      this.#waiting.push(this.#make().catch(() => undefined));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const ready of this.#waiting.splice(0)) await (await ready)?.[Symbol.asyncDispose]();
  }
}
