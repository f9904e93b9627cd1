/**
 * The demo's board: a login and a real shell on a terminal, behind a TCP port on loopback, the way a console server
 * offers a serial line.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

const banner = "\r\n\r\nDemoBoard 1.0, a shell that plays a board\r\n\r\n";
const host = "demoboard";

/**
 *     login ──user──▶ password ──right──▶ shell ──it ends──▶ login
 *       ▲───────────────wrong─┘
 */
type State =
  | { readonly kind: "login" }
  | { readonly kind: "password"; readonly user: string }
  | { readonly kind: "shell"; readonly shell: ChildProcess };

export class DemoBoard implements AsyncDisposable {
  readonly #password: string;
  readonly #folder: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #state: State = { kind: "login" };
  #typed = "";

  /**
   * @param password root's: any user of this box can reach the port
   * @param folder the shell's home
   */
  constructor(password: string, folder: string) {
    this.#password = password;
    this.#folder = folder;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("data", (bytes: Buffer) => this.#take(bytes));
      socket.on("error", () => socket.destroy());
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** @returns the port on loopback */
  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  #say(text: string | Uint8Array): void {
    for (const socket of this.#sockets) socket.write(text);
  }

  #take(bytes: Buffer): void {
    if (this.#state.kind === "shell") {
      this.#state.shell.stdin?.write(bytes);
      return;
    }
    for (const character of bytes.toString("latin1")) {
      if (character === "\r" || character === "\n") this.#line();
      else if (character >= " " && this.#typed.length < 256) {
        this.#typed += character;
        if (this.#state.kind === "login") this.#say(character);
      }
    }
  }

  #line(): void {
    const line = this.#typed;
    this.#typed = "";
    if (this.#state.kind === "login") {
      this.#state = line === "" ? this.#state : { kind: "password", user: line };
      this.#say(line === "" ? `${banner}${host} login: ` : "\r\nPassword: ");
    } else if (this.#state.kind === "password") {
      if (this.#state.user === "root" && this.#isRight(line)) this.#startShell();
      else {
        this.#state = { kind: "login" };
        this.#say(`\r\nLogin incorrect\r\n${host} login: `);
      }
    }
  }

  #isRight(password: string): boolean {
    const [given, right] = [Buffer.from(password), Buffer.from(this.#password)];
    return given.length === right.length && timingSafeEqual(given, right);
  }

  #startShell(): void {
    this.#say("\r\n");
    // script(1) gives the shell a terminal.
    const shell = spawn("script", ["-qfec", "exec /bin/sh -i", "/dev/null"], {
      stdio: ["pipe", "pipe", "ignore"],
      cwd: this.#folder,
      env: { PATH: process.env.PATH, HOME: this.#folder, TERM: "dumb", PS1: `root@${host}:~# ` },
    });
    this.#state = { kind: "shell", shell };
    shell.stdout?.on("data", (bytes: Buffer) => this.#say(bytes));
    shell.stdin?.on("error", () => {});
    const back = () => {
      this.#state = { kind: "login" };
      this.#say(`${banner}${host} login: `);
    };
    shell.on("error", back);
    shell.on("close", back);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
    if (this.#state.kind !== "shell") return;
    const { shell } = this.#state;
    const ended = once(shell, "close");
    // The end of its input hangs up the terminal, and with it the shell.
    shell.stdin?.end();
    shell.kill("SIGHUP");
    await ended;
  }
}
