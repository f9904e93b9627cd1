/** Real repositories, and real servers for them, for the tests of the checkout. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { CommandTrees, Owner } from "#/builds/checkout/git.ts";
import { part, partsEnv } from "../../support/parts.ts";
import { freePort } from "../../support/servers.ts";

/**
 * git's environment in the tests: the real part, wherever it is, and nothing of the developer's own
 * configuration.
 */
export function gitEnv(): Record<string, string> {
  const git = part("git");
  const unpacked = git === "/usr/bin/git" ? {} : { GIT_EXEC_PATH: join(dirname(git), "../lib/git-core") };
  return {
    PATH: `${dirname(git)}:${process.env.PATH}`,
    LD_LIBRARY_PATH: partsEnv.LD_LIBRARY_PATH ?? "",
    HOME: tmpdir(),
    ...unpacked,
  };
}

const author = {
  GIT_AUTHOR_NAME: "t",
  GIT_AUTHOR_EMAIL: "t@t",
  GIT_COMMITTER_NAME: "t",
  GIT_COMMITTER_EMAIL: "t@t",
};

/** A folder that is removed with all in it. */
export async function folder() {
  const path = await realpath(await mkdtemp(join(tmpdir(), "labgear-git-")));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A repository with a work tree at ROOT/org/project. */
export class Repository {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async make(root: string, name = "org/project", format = "sha1"): Promise<Repository> {
    const repository = new Repository(join(root, name));
    await mkdir(repository.path, { recursive: true });
    repository.git("init", "--quiet", "-b", "master", `--object-format=${format}`);
    return repository;
  }

  git(...args: string[]): string {
    const env = { ...gitEnv(), ...author, GIT_CONFIG_GLOBAL: "/dev/null", GIT_ALLOW_PROTOCOL: "file" };
    const stdio: ["ignore", "pipe", "pipe"] = ["ignore", "pipe", "pipe"];
    return execFileSync("git", args, { cwd: this.path, env, encoding: "utf8", stdio }).trim();
  }

  /** Commits files by name and content; says the commit. */
  async commit(files: Record<string, string>): Promise<string> {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(this.path, name)), { recursive: true });
      await writeFile(join(this.path, name), content);
    }
    this.git("add", "--all");
    this.git("commit", "--quiet", "--allow-empty", "-m", "change");
    return this.git("rev-parse", "HEAD");
  }
}

/** git's own server, for all that is under root. */
export async function gitDaemon(root: string) {
  const port = await freePort();
  const args = ["daemon", "--verbose", "--export-all", "--reuseaddr", "--listen=127.0.0.1", `--port=${port}`];
  const daemon = spawn("git", [...args, `--base-path=${root}`], { env: gitEnv(), detached: true });
  const exit = once(daemon, "exit");
  for await (const line of createInterface(daemon.stderr)) if (line.includes("Ready")) break;
  return {
    url: `git://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      process.kill(-(daemon.pid ?? 0), "SIGKILL");
      await exit;
    },
  };
}

/**
 * A web server of plain files ("dumb" HTTP); run `git update-server-info` first.
 * @param broken so many requests get a 503 at first
 * @param guard decides on the value of the Authorization header; a request that it refuses gets a 401
 */
export async function webServer(
  root: string,
  broken = 0,
  guard: (authorization: string | undefined) => boolean | Promise<boolean> = () => true,
) {
  let requests = 0;
  const server = createHttpServer(async (request, response) => {
    requests += 1;
    if (requests <= broken) return response.writeHead(503).end();
    if (!(await guard(request.headers.authorization)))
      return response.writeHead(401, { "WWW-Authenticate": "Basic" }).end();
    const path = join(root, new URL(request.url ?? "/", "http://x").pathname);
    const file = createReadStream(path);
    file.once("error", () => response.writeHead(404).end());
    return file.pipe(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A server that takes connections and never says a word. */
export async function silentServer() {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    socket.resume();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `git://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connected: once(server, "connection"),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Process trees whose commands are wrapped by a test. */
export function wrapped(
  trees: CommandTrees,
  wrap: (argv: readonly [string, ...string[]], owner: Owner) => readonly [string, ...string[]],
): CommandTrees {
  return {
    create: async (name, limits, folder, owner) => {
      const tree = await trees.create(name, limits, folder, owner);
      return {
        run: (command) => tree.run({ ...command, argv: wrap(command.argv, owner) }),
        kill: () => tree.kill(),
        [Symbol.asyncDispose]: () => tree[Symbol.asyncDispose](),
      };
    },
  };
}

/** The processes that have this text in their environment. */
export async function processesWith(text: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^[0-9]+$/.test(name));
  const environments = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/environ`, "utf8").catch(() => "")),
  );
  return pids.filter((_, i) => environments[i]?.includes(text));
}

/** The command lines that have this text, of any process. */
export async function commandsWith(text: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^[0-9]+$/.test(name));
  const commands = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")),
  );
  return commands.filter((command) => command.includes(text));
}
