/** A board's power and programmer, used by a test or by a command of the shell, one action after the other. */
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

const script = new URL("power.mjs", import.meta.url).pathname;

/** `flash IMAGE` puts another firmware on the board and starts it, as a programmer does. */
export type Action = "on" | "off" | "cycle" | "reset" | `flash ${string}`;
const isAction = (text: string): text is Action => /^(on|off|cycle|reset|flash \S+)$/.test(text);

export interface Powered {
  on(): Promise<void>;
  off(): Promise<void>;
  reset(): Promise<void>;
  /** Only what the next `on()` runs. */
  load(image: string): void;
}

export class PowerSwitch implements AsyncDisposable {
  /** What was done, in order. */
  readonly done: Action[] = [];
  readonly #path: string;
  readonly #board: Powered;
  readonly #server = createServer((socket) => {
    socket.on("error", () => {});
    createInterface({ input: socket }).on("line", (line) => {
      const act = isAction(line) ? this.act(line) : Promise.reject(new Error(`no such action: ${line}`));
      act.then(
        () => socket.end("done\n"),
        (error: Error) => socket.end(`${error.message}\n`),
      );
    });
  });
  #last: Promise<void> = Promise.resolve();

  /** @param path of the socket over which the commands come */
  constructor(path: string, board: Powered) {
    this.#path = path;
    this.#board = board;
  }

  async listen(): Promise<void> {
    this.#server.listen(this.#path);
    await once(this.#server, "listening");
  }

  command(action: Action): string {
    return `'${process.execPath}' '${script}' '${this.#path}' ${action}`;
  }

  act(action: Action): Promise<void> {
    const turn = this.#last.then(async () => {
      await this.#act(action);
      this.done.push(action);
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #act(action: Action): Promise<void> {
    if (action === "reset") return this.#board.reset();
    if (action !== "on") await this.#board.off();
    if (action.startsWith("flash ")) this.#board.load(action.slice("flash ".length));
    if (action !== "off") await this.#board.on();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    if (this.#server.listening) this.#server.close();
  }
}
