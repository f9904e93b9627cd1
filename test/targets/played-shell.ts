/** A small shell that is played: barebox, Zephyr's shell or NuttX's NSH, in a test's own time or behind a real line. */
import { once } from "node:events";
import { PassThrough, Writable } from "node:stream";
import type { DialectName } from "#/devices/consoles/prompt-shell/dialects.ts";
import type { Running } from "./machine.ts";

export interface Command {
  /** A wait is in milliseconds; what a function returns is said in its turn. */
  readonly says: readonly (string | number | (() => string))[];
  readonly code: number;
}

/** What differs between them. */
export const boards = {
  barebox: {
    prompt: "\x1b[1;32mbarebox@\x1b[1;36mboard\x1b[0m:/ ",
    boot: "\r\n\r\nbarebox 2023.01.0 #1\r\n\r\nBoard: board\r\nHit m for menu or any to stop autoboot:    3",
    unknown: (name: string) => `${name}: No such file or directory\r\n`,
    unknownCode: 127,
  },
  zephyr: {
    prompt: "\x1b[1;32muart:~$ \x1b[m",
    boot: "*** Booting Zephyr OS build v3.6.0 ***\r\n\r\n\r\n\x1b[1;32muart:~$ \x1b[m",
    unknown: (name: string) => `\x1b[1;31m${name}: command not found\r\n\x1b[m`,
    unknownCode: -8,
  },
  nuttx: {
    prompt: "nsh> \x1b[K",
    boot: "\r\nNuttShell (NSH) NuttX-12.4.0\r\nnsh> \x1b[K",
    unknown: (name: string) => `nsh: ${name}: command not found\r\n`,
    unknownCode: 1,
  },
} as const;

/** Just enough of a small shell: line editing, an exit code, and commands that the test gives it. */
export class PlayedShell {
  readonly commands: Record<string, Command> = {};
  readonly ran: string[] = [];
  /** Whether a keystroke arrives. */
  arrives: (count: number) => boolean = () => true;
  readonly #kind: DialectName;
  #said: { at: number; what: string | (() => string) }[] = [];
  #waiting: string[] = [];
  #line = "";
  #open = "";
  #now = 0;
  #code = 0;
  #isUp: boolean;
  #keys = 0;
  #busyUntil = 0;

  constructor(kind: DialectName, isUp = true) {
    this.#kind = kind;
    this.#isUp = isUp;
    if (!isUp) this.#print(boards[kind].boot);
  }

  say(now: number): string {
    this.#now = Math.max(this.#now, now);
    if (this.#now >= this.#busyUntil) for (const key of this.#waiting.splice(0)) this.#key(key);
    const due = this.#said.filter(({ at }) => at <= now);
    this.#said = this.#said.filter(({ at }) => at > now);
    return due.map(({ what }) => (typeof what === "string" ? what : what())).join("");
  }

  /** When it has something to say next, if nothing is typed. */
  get nextAt(): number | undefined {
    const times = this.#said.map(({ at }) => at);
    if (this.#waiting.length > 0) times.push(this.#busyUntil);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  write(text: string): void {
    for (const key of text) {
      this.#keys += 1;
      if (!this.arrives(this.#keys)) continue;
      if (this.#now < this.#busyUntil) this.#waiting.push(key);
      else this.#key(key);
    }
  }

  /** A thread of the board logs a line, and the shell draws its own anew. */
  log(text: string): void {
    this.#print(`\x1b[${this.#line.length + 8}D\x1b[J${text}\r\n${boards[this.#kind].prompt}${this.#line}`);
  }

  #print(what: string | (() => string), at = Math.max(this.#now, this.#busyUntil)): void {
    this.#said.push({ at, what });
  }

  #key(key: string): void {
    const { prompt } = boards[this.#kind];
    if (!this.#isUp) {
      this.#isUp = true;
      this.#line = "";
      this.#print(`\r\n${prompt}`);
    } else if (key === "\x03") {
      this.#open = "";
      if (this.#kind === "nuttx") return;
      this.#line = "";
      this.#print(`\r\n${prompt}`);
    } else if (key === "\b") {
      if (this.#line !== "") this.#print("\b \b");
      this.#line = this.#line.slice(0, -1);
    } else if (key === "\r") {
      this.#print("\r\n");
      const line = this.#open + this.#line.trim();
      this.#line = "";
      this.#open = line.startsWith("if ") && !line.endsWith("fi") ? `${line}\n` : "";
      if (this.#open === "" && line !== "") this.#run(line);
      this.#print(this.#open === "" ? prompt : "> ");
    } else {
      this.#line += key;
      this.#print(key);
    }
  }

  #run(line: string): void {
    this.ran.push(line);
    const known = this.commands[line];
    const { unknown, unknownCode } = boards[this.#kind];
    const before = this.#code;
    this.#code = 0;
    if (known) {
      this.#code = known.code;
      this.#busyUntil = Math.max(this.#now, this.#busyUntil);
      for (const says of known.says) {
        if (typeof says === "number") this.#busyUntil += says;
        else this.#print(says);
      }
    } else if (line === "retval" && this.#kind === "zephyr") this.#print(`${before}\r\n`);
    else if (line.startsWith("echo ") && this.#kind !== "zephyr")
      this.#print(`${line.slice(5).replaceAll("$?", String(before))}\r\n`);
    else {
      this.#code = unknownCode;
      this.#print(unknown(line.split(" ", 1)[0] ?? ""));
    }
  }
}

/** Plays it in real time, from power on to power off. */
export class PlayedMachine implements Running {
  readonly banner = "";
  readonly input: Writable;
  readonly output = new PassThrough();
  readonly ended: Promise<unknown> = once(this.output, "close");
  readonly #shell: PlayedShell;
  #timer: NodeJS.Timeout | undefined;

  constructor(shell: PlayedShell) {
    this.#shell = shell;
    this.input = new Writable({
      write: (bytes: Buffer, _, done) => {
        this.#say();
        shell.write(bytes.toString("latin1"));
        this.#say();
        done();
      },
    });
    this.#say();
  }

  #say(): void {
    clearTimeout(this.#timer);
    this.output.write(this.#shell.say(performance.now()), "latin1");
    const { nextAt } = this.#shell;
    if (nextAt === undefined) return;
    this.#timer = setTimeout(() => this.#say(), Math.max(1, nextAt - performance.now()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.input.destroy();
    this.output.destroy();
    await this.ended;
  }
}
