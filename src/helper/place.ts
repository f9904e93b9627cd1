/**
 * The way into a build's place: namespaces for mounts, IPC and, where asked for, the network, then the build's user. A small
 * shell program does it with util-linux's tools. It runs as root until setpriv(1), so its environment has nothing that a build
 * decides.
 */
import type { Account } from "#/host/accounts.ts";
import type { StartRequest } from "./protocol.ts";

/** The launcher's descriptors besides 0 to 2: it reports on `report`, and reads the command's environment from `environment`. */
export const descriptors = { report: 3, home: 4, tmp: 5, varTmp: 6, environment: 7, agent: 8 } as const;

/** What the launcher reports when it is about to become the command. Anything before that is why it fails. */
export const insideMark = "inside\n";

const launcherEnvironment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" } as const;

/**
 * $1 group, $2 network, $3 the build's folders. 8 is the agent's folder in /proc: a build sees what the agent's unit lets the
 * agent see. When memory runs out, builds are killed first; they leave no core files unless they ask for them.
 */
const enter = `
exec 9>&2 2>&3
echo 0 > "$1/cgroup.procs"
echo 500 > /proc/self/oom_score_adj
ulimit -S -c 0
umask 022
network=
[ "$2" != none ] || network=--net
exec nsenter --mount=/proc/self/fd/8/ns/mnt unshare --mount --ipc $network /bin/sh -euc "$LABGEAR_PLACE" labgear-place "$@"
`;

/**
 * $4 uid, $5 gid, $6 home, $7 the build's devices.
 *
 * - A folder has to be the one that was opened and checked: what the agent may have put there meanwhile is refused.
 * - A service that resolves names for others would do it through any wall, so its socket is hidden.
 * - A new /sys shows the new network, whose loopback is brought up there: 9 is IFF_UP | IFF_LOOPBACK (netdevice(7)).
 * - A new /dev has copies of the nodes and terminals of its own; the build's devices belong to its user.
 * - /dev/shm is bounded, as it is memory. The IPC namespace has its own message queues, which are seen only in a new
 *   /dev/mqueue.
 * - The new /proc hides other users' processes (hidepid, proc(5)).
 */
const furnish = `
put() {
  mount --bind "$1" "$2"
  [ "$2" -ef "/proc/self/fd/$3" ] || { echo "$1 was replaced" >&2; exit 1; }
}
if [ "$2" != full ]; then
  for socket in /run/systemd/resolve/io.systemd.* /run/nscd/socket; do
    [ ! -S "$socket" ] || mount --bind /dev/null "$socket"
  done
fi
if [ "$2" = none ]; then
  mount -t sysfs labgear /sys
  echo 9 > /sys/class/net/lo/flags
  umount /sys
fi
if [ "$7" != all ]; then
  dev=$3/dev
  mount -t tmpfs -o nosuid,noexec,mode=755,size=1m,nr_inodes=4k labgear "$dev"
  mkdir "$dev/pts" "$dev/shm" "$dev/mqueue"
  cd /dev
  cp -a null zero full random urandom tty fd stdin stdout stderr "$dev/"
  ln -s pts/ptmx "$dev/ptmx"
  for node in $7; do
    cp -a --parents "$node" "$dev/"
    chown -R "$4:$5" "$dev/$node"
  done
  mount -t devpts -o nosuid,noexec,mode=600,ptmxmode=666 labgear "$dev/pts"
  mount --no-mtab --move "$dev" /dev
  cd /
fi
mount -t tmpfs -o nosuid,nodev,mode=1777,size=25%,nr_inodes=100k labgear /dev/shm
[ ! -d /dev/mqueue ] || mount -t mqueue -o nosuid,nodev,noexec labgear /dev/mqueue
put "$3/home" "$6" 4
put "$3/tmp" /tmp 5
put "$3/var-tmp" /var/tmp 6
mount -t proc -o nosuid,nodev,noexec,hidepid=2 labgear /proc
exec 4<&- 5<&- 6<&- 8<&-
uid=$4 gid=$5
shift 7
unset LABGEAR_PLACE
exec setpriv --reuid="$uid" --regid="$gid" --init-groups --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs \
  /bin/sh -euc "$LABGEAR_COMMAND" labgear-place "$@"
`;

/** As the build's user; $1 is the working directory. PWD is unset since the shell adds it. */
const become = `
cd "$1"
shift
environment=$(cat <&7)
unset LABGEAR_COMMAND LC_ALL PATH
eval "$environment"
unset environment PWD OLDPWD
echo inside >&3
exec "$@" 2>&9 3>&- 7<&- 9>&-
`;

/** The launcher's command line and environment; the account's own variables win over the request's. */
export function launcher(request: StartRequest, { uid, gid, home }: Account) {
  const { group, network, scratch, devices, folder, argv } = request;
  const nodes = devices === "all" ? devices : devices.join(" ");
  const way = typeof network === "string" ? network : "filtered";
  const args = [group, way, scratch, `${uid}`, `${gid}`, home, nodes, folder, ...argv];
  return {
    file: "/bin/sh",
    args: ["-euc", enter, "labgear-place", ...args],
    env: { ...launcherEnvironment, LABGEAR_PLACE: furnish, LABGEAR_COMMAND: become },
  };
}

/** The command's environment as a script for `eval`. */
export function environmentScript(env: Readonly<Record<string, string>>, { name, home }: Account): string {
  const all = { ...env, HOME: home, USER: name, LOGNAME: name };
  return Object.entries(all)
    .map(([key, value]) => `export ${key}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join("");
}
