/** A console server: the real ser2net over a target's tty, on a port of loopback. */
import { existsSync, watch } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { part } from "../support/parts.ts";
import { bounded, freePort } from "../support/servers.ts";
import { Child } from "./child.ts";

export type ConsoleProtocol = "raw" | "telnet-rfc2217";

export interface ConsoleServer extends AsyncDisposable {
  readonly port: number;
  /** As a configuration's `port: { path: … }` has it. */
  readonly url: string;
}

export interface ConsoleServerOptions {
  /** To listen on, such as that of one that has gone; default: a free one. */
  readonly port?: number;
}

/** One client at a time is let in; it opens the tty when a client comes and closes it when that one goes. */
export async function startSer2net(
  tty: string,
  protocol: ConsoleProtocol,
  options: ConsoleServerOptions = {},
): Promise<ConsoleServer> {
  const folder = await mkdtemp(join(tmpdir(), "labgear-ser2net-"));
  try {
    return await start(folder, tty, protocol, options.port ?? (await freePort()));
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function start(folder: string, tty: string, protocol: ConsoleProtocol, port: number) {
  const [file, pid] = [join(folder, "ser2net.yaml"), join(folder, "pid")];
  const accepter = protocol === "raw" ? "tcp" : "telnet(rfc2217),tcp";
  const lines = [
    "connection: &console",
    `  accepter: ${accepter},127.0.0.1,${port}`,
    // `local`: a pty has no modem lines to wait for.
    `  connector: serialdev,${tty},115200n81,local`,
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  const child = new Child(part("ser2net"), ["-n", "-u", "-c", file, "-P", pid]);
  try {
    // It writes the file when it listens.
    await child.until(bounded(appeared(folder, pid)));
    await assertTaken(port, child);
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  return {
    port,
    url: `tcp://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await child[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A mistake in its configuration doesn't end it; but then nobody listens. */
async function assertTaken(port: number, child: Child): Promise<void> {
  const isFree = await freePort(port).then(
    () => true,
    () => false,
  );
  if (isFree) throw new Error(`ser2net doesn't listen: ${child.said}`);
}

async function appeared(folder: string, file: string): Promise<void> {
  const watcher = watch(folder);
  try {
    if (existsSync(file)) return;
    await new Promise<void>((resolve) => watcher.on("change", () => existsSync(file) && resolve()));
  } finally {
    watcher.close();
  }
}
