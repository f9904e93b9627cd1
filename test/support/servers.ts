/** Starts the real servers that tests talk to: gearmand, the Perl job server, stunnel in front of them. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { watch } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { part, partsEnv } from "./parts.ts";

/** A server of this test alone, on loopback; disposing of it kills it and waits until it has gone. */
export interface RunningServer extends AsyncDisposable {
  readonly host: "127.0.0.1";
  readonly port: number;
  readonly pid: number;
  /** Sends a signal, such as SIGSTOP. */
  signal(name: NodeJS.Signals): void;
}

export interface ServerOptions {
  /** The port to listen on, such as that of a server that has gone; otherwise a free one. */
  readonly port?: number;
  /** More arguments for the program. */
  readonly args?: readonly string[];
}

/** The C job server: Debian's, or another program. */
export function startGearmand(options: ServerOptions & { program?: string } = {}): Promise<RunningServer> {
  return start(options.port, async (port, folder) => {
    const args = [
      "-L",
      "127.0.0.1",
      "-p",
      `${port}`,
      "-l",
      "stderr",
      "--verbose",
      "INFO",
      "-P",
      join(folder, "pid"),
    ];
    const child = spawn(
      options.program ?? part("gearmand"),
      [...args, ...(options.args ?? [])],
      spawnOptions("stderr"),
    );
    await said(child, "Adding event for listening socket");
    return child;
  });
}

/** The Perl job server: no GRAB_JOB_UNIQ, no WORK_DATA, few admin commands. */
export function startPerlServer(options: ServerOptions = {}): Promise<RunningServer> {
  return start(options.port, async (port, folder) => {
    const watcher = watch(folder);
    try {
      // It writes the pid file when it listens.
      const args = ["-L", "127.0.0.1", "-p", `${port}`, `--pidfile=${join(folder, "pid")}`];
      const child = spawn(part("perlGearmand"), [...args, ...(options.args ?? [])], spawnOptions());
      await Promise.race([bounded(once(watcher, "change")), gone(child)]);
      return child;
    } finally {
      watcher.close();
    }
  });
}

export interface StunnelOptions {
  readonly port?: number;
  /** Where it connects to. */
  readonly to: number;
  /** PEM files. */
  readonly cert: string;
  readonly key: string;
  /** Demand a client certificate that this CA signed. */
  readonly clientCa?: string;
}

/** A TLS proxy in front of a plain-text port. */
export function startStunnel(options: StunnelOptions): Promise<RunningServer> {
  return start(options.port, async (port, folder) => {
    const lines = [
      "foreground = yes",
      "pid =",
      "[tls]",
      `accept = 127.0.0.1:${port}`,
      `connect = 127.0.0.1:${options.to}`,
    ];
    lines.push(`cert = ${options.cert}`, `key = ${options.key}`);
    if (options.clientCa) lines.push(`CAfile = ${options.clientCa}`, "verifyChain = yes");
    const file = join(folder, "stunnel.conf");
    await writeFile(file, `${lines.join("\n")}\n`);
    const child = spawn(part("stunnel"), [file], spawnOptions("stderr"));
    await said(child, "Configuration successful");
    return child;
  });
}

/** A peer made of a raw socket: `onSocket` says how it behaves. */
export async function startRawServer(onSocket: (socket: Socket) => void): Promise<RunningRawServer> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    host: "127.0.0.1",
    port: portOf(server),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

export type RunningRawServer = Pick<RunningServer, "host" | "port" | typeof Symbol.asyncDispose>;

/**
 * Below the ports that Linux hands out by itself (ip_local_port_range): whatever other test files connect or listen to meanwhile, a
 * server that was away has its port back.
 */
const ownPorts = { from: 10_000, below: 32_768 };

/**
 * A port of loopback that nobody listens on just now.
 * @param wanted that one; default: any
 * @throws the system's error when somebody listens on the wanted one
 */
export async function freePort(wanted?: number): Promise<number> {
  const port = wanted ?? randomInt(ownPorts.from, ownPorts.below);
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch (error) {
    if (wanted !== undefined) throw error;
    return freePort();
  }
  server.close();
  await once(server, "close");
  return port;
}

/** A temporary folder that goes with the scope it is used in. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "labgear-test-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

type Launch = (port: number, folder: string) => Promise<ChildProcess>;

/** Starts a program on a port; when another process was faster to take a free one, on the next. */
async function start(port: number | undefined, launch: Launch, tries = 5): Promise<RunningServer> {
  const folder = await temporaryFolder();
  const chosen = port ?? (await freePort());
  try {
    return running(await launch(chosen, folder.path), chosen, folder);
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    if (port !== undefined || tries <= 1) throw error;
    return start(undefined, launch, tries - 1);
  }
}

function running(child: ChildProcess, port: number, folder: AsyncDisposable): RunningServer {
  return {
    host: "127.0.0.1",
    port,
    pid: child.pid ?? 0,
    signal: (name) => void child.kill(name),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, "exit");
        child.kill("SIGKILL");
        await exited;
      }
      await folder[Symbol.asyncDispose]();
    },
  };
}

function spawnOptions(heard?: "stderr"): SpawnOptions {
  return { env: partsEnv, stdio: ["ignore", "ignore", heard ? "pipe" : "ignore"] };
}

/** Resolves when the child writes the text on standard error; what follows is read and dropped. */
async function said(child: ChildProcess, text: string): Promise<void> {
  let output = "";
  const heard = new Promise<void>((resolve) => {
    const onData = (chunk: Buffer) => {
      output += chunk.toString("latin1");
      if (!output.includes(text)) return;
      child.stderr?.off("data", onData).resume();
      resolve();
    };
    child.stderr?.on("data", onData);
  });
  await Promise.race([bounded(heard), gone(child, () => output)]).catch((error: unknown) => {
    child.kill("SIGKILL");
    throw error;
  });
}

/** Rejects when the child ends. */
async function gone(child: ChildProcess, output = () => ""): Promise<never> {
  await once(child, "exit");
  throw new Error(`${child.spawnargs.join(" ")} ended at once: ${output()}`);
}

/**
 * How long any one event may take, in milliseconds: a bound against hanging, far above what it takes on a busy machine.
 * It is below what one test may take, so that the test says what didn't come.
 */
export const patienceMs = 60_000;

/** The same promise, rejected when it takes too long. */
export function bounded<T>(promise: PromiseLike<T>, milliseconds = patienceMs): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing came in ${milliseconds} ms`)), milliseconds);
    Promise.resolve(promise)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP port");
  return address.port;
}
