/**
 * A build's place: namespaces for mounts, IPC and, where asked for, the network, in which its command starts as the build's user.
 * The helper's own thread goes in, makes the place, starts a small shell program there, and comes back, all in one turn. The
 * program runs as root until setpriv(1), so its environment has nothing that a build decides.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Account } from "#/host/accounts.ts";
import { shellQuoted } from "#/lib/text.ts";
import { type Kernel, loadKernel, mountFlags, namespaceTypes, pathOnly } from "./kernel.ts";
import { HelperError, type PlaceRequest, type StartRequest } from "./protocol.ts";

/** The program's descriptors besides 0 to 2: it reports on the first, and reads the command's environment from the second. */
export const descriptors = { report: 3, environment: 4, devices: 5 } as const;

/** What the program reports when it is about to become the command. Anything before that is why it fails. */
export const insideMark = "inside\n";

const folderFlags = pathOnly | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export const launcherEnvironment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" } as const;

/**
 * $1 group, $2 uid, $3 gid, $4 the build's devices. When memory runs out, builds are killed first; they leave no core files unless
 * they ask for them. The devices' copies are made here because the control group says which nodes may be made; they belong to
 * the build's user.
 */
const enter = `
exec 9>&2 2>&3
echo 0 > "$1/cgroup.procs"
echo 500 > /proc/self/oom_score_adj
ulimit -S -c 0
umask 022
if [ -n "$4" ]; then
  cd /proc/self/fd/${descriptors.devices}
  for node in $4; do
    cp -a --parents "$node" /dev/
    chown -R "$2:$3" "/dev/$node"
  done
  cd /
fi
exec ${descriptors.devices}<&-
uid=$2 gid=$3
shift 4
exec setpriv --reuid="$uid" --regid="$gid" --init-groups --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs \
  /bin/sh -euc "$LABGEAR_COMMAND" labgear-place "$@"
`;

/** As the build's user; $1 is the working directory. PWD is unset since the shell adds it. */
const become = `
cd "$1"
shift
unset LABGEAR_COMMAND LC_ALL PATH
. /proc/self/fd/${descriptors.environment}
unset PWD OLDPWD
echo inside >&${descriptors.report}
exec "$@" 2>&9 ${descriptors.report}>&- ${descriptors.environment}<&- 9>&-
`;

export interface PlaceOptions {
  readonly account: Account;
  /** The agent's folder in /proc: a build sees what the agent's unit lets the agent see. */
  readonly agent: number;
  readonly stdio: readonly (number | "ignore" | "pipe")[];
  /** Gives the user its files, seen as the agent sees them. */
  readonly handOver: (kernel: Kernel) => void;
}

interface Own {
  readonly kernel: Kernel;
  /** The helper's own, by type, to come back to. */
  readonly namespaces: ReadonlyMap<number, number>;
}

let own: Own | undefined;

function prepare(): Own {
  const kernel = loadKernel();
  kernel.separate();
  const namespaces = Object.entries(namespaceTypes).map(
    ([name, type]) => [type, openSync(`/proc/self/ns/${name}`, "r")] as const,
  );
  return { kernel, namespaces: new Map(namespaces) };
}

/**
 * Starts the request's command, in a new place if it asks for one. The child has the pipe of descriptors.report.
 * @throws HelperError REFUSED
 */
export function startInPlace(request: StartRequest, options: PlaceOptions): ChildProcess {
  const { account, agent, stdio, handOver } = options;
  return asAgentSees(agent, (kernel) => {
    using opened = new DisposableStack();
    const keep = (descriptor: number) => opened.adopt(descriptor, closeSync);
    const environment = keep(kernel.makeFile());
    writeSync(environment, environmentScript(request.env, account));
    handOver(kernel);
    const { place } = request;
    const { mnt, ipc, net } = namespaceTypes;
    if (place) kernel.unshare(mnt | ipc | (place.network === "none" ? net : 0));
    const devices = keep(openSync("/dev", folderFlags));
    if (place) furnish(kernel, place, account);
    const { file, args, env } = launcher(request, account);
    const all = [...stdio, "pipe" as const, environment, devices];
    // In a session of its own.
    return spawn(file, args, { cwd: "/", env, detached: true, stdio: all });
  });
}

/**
 * Does something where the agent's mounts are, in one turn, and comes back.
 * @param agent its folder in /proc, open
 */
export function asAgentSees<T>(agent: number, work: (kernel: Kernel) => T): T {
  own ??= prepare();
  const { kernel, namespaces } = own;
  using opened = new DisposableStack();
  const mounts = opened.adopt(openSync(`/proc/self/fd/${agent}/ns/mnt`, "r"), closeSync);
  try {
    kernel.enter(mounts, namespaceTypes.mnt);
    return work(kernel);
  } finally {
    for (const [type, descriptor] of namespaces) comeBack(kernel, descriptor, type);
  }
}

/** The helper must never work on in a build's place. */
function comeBack(kernel: Kernel, descriptor: number, type: number): void {
  try {
    kernel.enter(descriptor, type);
  } catch (error) {
    process.stderr.write(`the helper can't leave a build's place: ${(error as Error).message}\n`);
    process.abort();
  }
}

/**
 * - A service that resolves names for others would do it through any wall, so its socket is hidden.
 * - /dev/shm is bounded, as it is memory. The IPC namespace has its own message queues, which are seen only in a new
 *   /dev/mqueue.
 * - The new /proc hides other users' processes (hidepid, proc(5)).
 */
function furnish(kernel: Kernel, { network, devices, scratch }: PlaceRequest, account: Account): void {
  const { nosuid, nodev, noexec, bind, recursive, private: isPrivate } = mountFlags;
  kernel.mount("none", "/", "", recursive | isPrivate);
  if (network !== "full") for (const socket of resolvers()) kernel.mount("/dev/null", socket, "", bind);
  if (network === "none") kernel.raiseLoopback();
  if (devices !== "all") makeDevices(kernel);
  kernel.mount("labgear", "/dev/shm", "tmpfs", nosuid | nodev, "mode=1777,size=25%,nr_inodes=100k");
  if (existsSync("/dev/mqueue")) kernel.mount("labgear", "/dev/mqueue", "mqueue", nosuid | nodev | noexec);
  const folders = { home: account.home, tmp: "/tmp", "var-tmp": "/var/tmp" };
  for (const [name, target] of Object.entries(folders)) {
    const folder = openOwned(join(scratch, name), account);
    try {
      kernel.mount(`/proc/self/fd/${folder}`, target, "", bind);
    } finally {
      closeSync(folder);
    }
  }
  kernel.mount("labgear", "/proc", "proc", nosuid | nodev | noexec, "hidepid=2");
}

function resolvers(): string[] {
  const found = ["/run/nscd/socket"].filter((path) => existsSync(path));
  const folder = "/run/systemd/resolve";
  if (!existsSync(folder)) return found;
  const sockets = readdirSync(folder, { withFileTypes: true }).filter(
    (entry) => entry.isSocket() && entry.name.startsWith("io.systemd."),
  );
  return [...found, ...sockets.map(({ name }) => join(folder, name))];
}

/** Source: the kernel's Documentation/admin-guide/devices.txt. */
const nodes = {
  null: [1, 3],
  zero: [1, 5],
  full: [1, 7],
  random: [1, 8],
  urandom: [1, 9],
  tty: [5, 0],
} as const;
const links = {
  ...{ fd: "/proc/self/fd", stdin: "/proc/self/fd/0", stdout: "/proc/self/fd/1", stderr: "/proc/self/fd/2" },
  ptmx: "pts/ptmx",
} as const;

/** A new /dev, with terminals of its own. */
function makeDevices(kernel: Kernel): void {
  const { nosuid, noexec } = mountFlags;
  kernel.mount("labgear", "/dev", "tmpfs", nosuid | noexec, "mode=755,size=1m,nr_inodes=4k");
  for (const name of ["pts", "shm", "mqueue"]) mkdirSync(`/dev/${name}`, 0o755);
  for (const [name, [major, minor]] of Object.entries(nodes)) {
    kernel.makeNode(`/dev/${name}`, major, minor);
    // mknod(2) heeds the umask.
    chmodSync(`/dev/${name}`, 0o666);
  }
  for (const [name, target] of Object.entries(links)) symlinkSync(target, `/dev/${name}`);
  kernel.mount("labgear", "/dev/pts", "devpts", nosuid | noexec, "mode=600,ptmxmode=666");
}

/** Opens a folder of the build's user; no link leads there (the kernel tells where it is). */
function openOwned(path: string, account: Account): number {
  const folder = openSync(path, folderFlags);
  const isIt = readlinkSync(`/proc/self/fd/${folder}`) === path && fstatSync(folder).uid === account.uid;
  if (isIt) return folder;
  closeSync(folder);
  throw new HelperError("REFUSED", `the helper refuses the start: ${path} isn't a folder of ${account.name}`);
}

function launcher(request: StartRequest, { uid, gid }: Account) {
  const { group, place, folder, argv } = request;
  const copied = place === null || place.devices === "all" ? "" : place.devices.join(" ");
  return {
    file: "/bin/sh",
    args: ["-euc", enter, "labgear-place", group, `${uid}`, `${gid}`, copied, folder, ...argv],
    env: { ...launcherEnvironment, LABGEAR_COMMAND: become },
  };
}

/** The command's environment as a script; the account's own variables win over the request's. */
function environmentScript(env: Readonly<Record<string, string>>, { name, home }: Account): string {
  const all = { ...env, HOME: home, USER: name, LOGNAME: name };
  return Object.entries(all)
    .map(([key, value]) => `export ${key}=${shellQuoted(value)}\n`)
    .join("");
}
