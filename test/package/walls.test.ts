/** The Debian package against a build that attacks it, on a system with everything that starts processes for users. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Box } from "./box.ts";
import { lacksPrograms, making, type Products, products } from "./products.ts";

const lack = lacksPrograms("mmdebstrap", "systemd-nspawn", "dh", "aarch64-linux-gnu-strip");

const build = "labgear-build1";

/** Each must be refused; what it prints tells which wasn't. */
const attacks = String.raw`
try() { if timeout 10 sh -c "$1" > $WORKSPACE/out 2>&1; then echo "HOLE: $1"; cat $WORKSPACE/out; else echo "refused: $1"; fi; }
login1='org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager'
try "busctl call $login1 SetUserLinger ubb $(id -u) true false"
try "busctl --system list"
try "systemd-run --no-block -- touch /tmp/ran"
try "systemd-run --user --no-block -- touch /tmp/ran"
try "systemctl --user start default.target"
try "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user status"
try "pkexec id"
try "echo '* * * * * touch /tmp/ran' | crontab -"
try "echo 'touch /tmp/ran' | at now"
try "touch /var/lib/systemd/linger/$(id -un)"
try "keyctl add user kept secret @u"
logger -t labgear FORGED
try "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/engine.sock\")'"
try "ls /run/systemd/private"
try "unshare -Ur id"
try "unshare -m true"
try "python3 -c 'import ctypes; assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0'"
try "unshare -n true"
try "nsenter -t 1 -m true"
try "mount -t tmpfs none /tmp"
try "umount /tmp"
try "cat /proc/1/cmdline"
try "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/labgear-helper/socket\")'"
try "python3 -c 'import socket; socket.socket(socket.AF_VSOCK)'"
try "cat /dev/disk0"
try "cat /dev/loop-control"
try "cat /dev/sg7"
for address in 127.0.0.1 127.3.3.3 10.9.8.7; do
  try "curl -sf http://$address:8430/builds/victim/1/console"
  try "curl -sf http://$address:8430/api/status"
  try "curl -sf http://$address:8430/healthz"
done
try "labgear build victim --server 127.0.0.1:4730 --detach"
try "labgear functions --server 127.0.0.1:4730"
try "labgear status"
try "python3 -c 'import socket; s=socket.create_connection((\"127.0.0.1\",4730)); s.sendall(b\"maxqueue build:victim 1\\n\"); assert s.recv(99).startswith(b\"OK\")'"
ssh-keygen -q -t ed25519 -N '' -f $WORKSPACE/key; mkdir -p ~/.ssh; cp $WORKSPACE/key.pub ~/.ssh/authorized_keys; chmod -R go= ~/.ssh
try "ssh -i $WORKSPACE/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes 127.0.0.1 true"
echo done
`;

/** A build leaves something wherever it can; the next one on the executor looks for it. */
const leave = `for place in ~ /tmp /var/tmp /dev/shm; do echo LEFT > $place/left; done
python3 -c 'import ctypes; c = ctypes.CDLL(None); assert c.shmget(4711, 100, 0o1600) >= 0 and c.msgget(4711, 0o1600) >= 0'
echo LEFT > $WORKSPACE/left`;
const find = `for place in ~ /tmp /var/tmp /dev/shm /var/lib/labgear-build/*; do ls -A $place || true; done
ls -A /var/lib/labgear/scratch /var/lib/labgear/scratch/* || true
python3 -c 'import ctypes; c = ctypes.CDLL(None); assert c.shmget(4711, 100, 0o600) < 0 and c.msgget(4711, 0o600) < 0'
echo looked`;
/** What debuggers and sandboxes need, and that it opens nothing else. */
const traced = `python3 -c 'import ctypes; assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0; print("traced")'
unshare -Ur id -u
! unshare -Urm umount /tmp; ! unshare -Ur cat /etc/shadow; ! mount -t tmpfs none /tmp; ! keyctl add user kept secret @u
test ! -e /dev/sg7; ! cat /proc/1/cmdline; id -u`;
/** What answers, by TCP and UDP: a server of root's, and the build itself. */
const reach = `cat > reach.py <<'END'
import socket, sys
def talks(name, family, address, kind=socket.SOCK_STREAM, timeout=2):
    try:
        s = socket.socket(family, kind); s.settimeout(timeout); s.connect(address)
        if kind == socket.SOCK_DGRAM: s.send(b"x")
        print("reached", name)
    except OSError: print("refused", name)
talks("allowed", socket.AF_INET, ("127.0.0.9", 9999), timeout=30)
talks("tcp", socket.AF_INET, ("127.0.0.1", 9999))
talks("udp", socket.AF_INET, ("10.9.8.7", 9999), socket.SOCK_DGRAM)
talks("six", socket.AF_INET6, ("::1", 9999))
talks("mapped", socket.AF_INET6, ("::ffff:127.0.0.1", 9999))
talks("resolver", socket.AF_UNIX, "/run/systemd/resolve/io.systemd.Resolve")
talks("abstract", socket.AF_UNIX, chr(0) + "open")
own = socket.socket(); own.bind(("127.0.0.1", 0)); own.listen()
talks("own", socket.AF_INET, own.getsockname(), timeout=2 if "--lab" in sys.argv else 30)
END
python3 reach.py`;

const jobs = `name: box
http: { listen: "0.0.0.0:8430" }
networks: { lab: [127.0.0.9] }
jobs:
  victim: { run: echo VICTIMSECRET }
  attack: { run: ${JSON.stringify(attacks)} }
  leave: { run: ${JSON.stringify(leave)} }
  find: { run: ${JSON.stringify(find)} }
  open: { run: ${JSON.stringify(reach)} }
  alone: { network: none, run: ${JSON.stringify(reach)} }
  inside: { network: lab, run: ${JSON.stringify(`${reach} --lab`)} }
  traced: { debug: true, run: ${JSON.stringify(traced)} }
  device: { parameters: [NODE], devices: [/dev/ttyLATE, /dev/ttyUSB7], run: 'python3 -c "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)" $NODE' }
  other: { parameters: [NODE], run: 'python3 -c "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)" $NODE' }
  disk: { devices: [/dev/disk0], run: id }
  tape: { devices: [/dev/sg7], run: id }
`;

for (const release of ["bookworm", "trixie"] as const) {
  describe(`a build that attacks ${release}`, { skip: lack, timeout: making * 2 }, () => {
    let made: Products;
    before(
      async () => {
        made = await products();
      },
      { timeout: making },
    );

    test("finds no way out, and nothing of it stays", { timeout: making }, async () => {
      await using box = await Box.boot(release, "sessions");
      // A network address of its own, and a daemon that runs what it is sent, as Docker's does.
      await box.sh("ip link set lo up; ip address add 10.9.8.7/32 dev lo");
      await box.sh(`systemd-run --unit=engine python3 -c 'import os, socket
s = socket.socket(socket.AF_UNIX); s.bind("/run/engine.sock"); os.chmod("/run/engine.sock", 0o666); s.listen()
while True: s.accept()'`);
      // A service that resolves names for everyone, as systemd-resolved does.
      await box.sh(`mkdir -p /run/systemd/resolve; systemd-run --unit=resolver python3 -c 'import os, socket
path = "/run/systemd/resolve/io.systemd.Resolve"
s = socket.socket(socket.AF_UNIX); s.bind(path); os.chmod(path, 0o666); s.listen()
while True: s.accept()'
        timeout 60 sh -c 'until test -S /run/systemd/resolve/io.systemd.Resolve; do sleep 0.1; done'`);
      await box.install(made.now);
      box.write("/etc/labgear/conf.d/jobs.yaml", jobs);
      await box.sh("systemctl restart labgear; labgear build victim | grep -qx VICTIMSECRET");
      // Disks that are the build's own, as a confused agent may have made them.
      await box.sh(
        `mknod /dev/disk0 b 7 0; mknod /dev/sg7 c 21 7; chown ${build} /dev/disk0 /dev/sg7; chmod 666 /dev/loop-control || true`,
      );
      const found = await box.sh("labgear build attack");
      assert.match(found, /^done$/m);
      assert.doesNotMatch(found, /^HOLE/m);
      assert.doesNotMatch(found, /VICTIMSECRET/);
      await box.sh("ls /var/lib/systemd/linger | (! grep .); ! test -e /tmp/ran");
      assert.equal(await box.sh("loginctl list-users --no-legend"), "");
      // From elsewhere on this box, all of it answers.
      await box.sh(
        "curl -sf http://127.0.0.1:8430/healthz; curl -sf http://10.9.8.7:8430/builds/victim/1/console",
      );
      const journal = await box.sh("journalctl --no-pager -u labgear");
      assert.match(journal, /refused a connection from labgear-build1 to port 4730/);
      assert.doesNotMatch(journal, /FORGED/);
      const status = await box.sh("cat /proc/$(systemctl show --value -p MainPID labgear)/status");
      assert.match(status, /^CapBnd:\s+0{16}$/m);
      await carriesNothingOver(box);
      await networks(box);
      await caches(box);
      await handsOver(box);
      await inputs(box);
      await helperRefuses(box);
      assert.match(await box.sh("labgear build traced"), /^traced\n0\n(?:.*\n)*\d{2,}$/m);
      await devices(box);
      await accounts(box);
      await leftovers(box);
      await agentsEyes(box);
      await foreignServer(box);
      await purge(box);
    });

    test("doesn't keep the system from going down", { timeout: making }, async () => {
      await using box = await Box.boot(release, "sessions");
      await box.install(made.now);
      box.write("/etc/labgear/conf.d/jobs.yaml", "jobs: { long: { run: 'trap : TERM; sleep 4321' } }");
      await box.sh("systemctl reload labgear");
      const building = box.start("labgear build long");
      await box.sh("timeout 60 sh -c 'until pgrep -f \"sleep 432[1]\"; do sleep 0.1; done'");
      await box.sh("systemctl poweroff --no-block");
      // The default stop-timeout is an hour.
      await box.down();
      assert.match((await building).all, /no result|going down/);
    });
  });
}

async function carriesNothingOver(box: Box): Promise<void> {
  await box.sh("labgear build leave");
  const found = await box.sh("labgear build find");
  assert.match(found, /^looked$/m);
  assert.doesNotMatch(found, /^left$/m);
  // What goes is removed when the build has ended.
  await box.sh(
    "timeout 60 sh -c 'while ls /var/lib/labgear/scratch | grep -q .; do sleep 0.1; done'; ! ls -A /dev/shm /var/lib/labgear-build/* | grep left",
  );
}

async function networks(box: Box): Promise<void> {
  await box.sh(`systemd-run --unit=open python3 -c 'import socket
servers = [socket.create_server(("", 9999), family=socket.AF_INET6, dualstack_ipv6=True), socket.socket(socket.AF_UNIX)]
servers[1].bind(chr(0) + "open"); servers[1].listen()
while True: servers[0].accept()'
    timeout 60 sh -c 'until grep -q @open /proc/net/unix; do sleep 0.1; done'`);
  const reached = async (job: string) =>
    (await box.sh(`labgear build ${job}`)).match(/^reached \w+$/gm)?.map((line) => line.slice(8));
  assert.deepEqual(await reached("open"), [
    ...["allowed", "tcp", "udp", "six", "mapped", "resolver", "abstract", "own"],
  ]);
  assert.deepEqual(await reached("alone"), ["own"]);
  // The filter is for packets.
  assert.deepEqual(await reached("inside"), ["allowed", "abstract"]);
}

/** A cache is that of a job and a trust; none gets into another's, even if it knows where that is. */
async function caches(box: Box): Promise<void> {
  const cache = "/var/lib/labgear/caches/0/kept";
  const write = (trust: string) =>
    box.write(
      "/etc/labgear/conf.d/caches.yaml",
      `jobs:
  kept: { trust: ${trust}, caches: [c], run: 'cat $LABGEAR_CACHE/c/file || true; echo ${trust} > $LABGEAR_CACHE/c/file' }
  nosy: { caches: [c], run: 'cat $LABGEAR_CACHE/c/file ${cache}/changes/c/file ${cache}/lab/c/file || echo refused' }
`,
    );
  write("changes");
  await box.sh("labgear reload; labgear build kept");
  assert.match(await box.sh("labgear build kept"), /^changes$/m);
  write("lab");
  await box.sh("labgear reload");
  assert.doesNotMatch(await box.sh("labgear build kept"), /^changes$/m);
  assert.match(await box.sh("labgear build kept"), /^lab$/m);
  const nosy = await box.sh("labgear build nosy");
  assert.match(nosy, /^refused$/m);
  assert.doesNotMatch(nosy, /^(changes|lab)$/m);
  await box.sh("rm /etc/labgear/conf.d/caches.yaml; labgear reload");
}

/** A build has its own copy of what a client sent; the cache and other builds' copies are closed to it. */
async function inputs(box: Box): Promise<void> {
  const state = "/var/lib/labgear/inputs";
  const attack = `sha256sum < "$LABGEAR_INPUT_APP"
try() { if sh -c "$1" > /dev/null 2>&1; then echo "HOLE: $1"; fi; }
for file in ${state}/kept/$DIGEST ${state}/kept/$DIGEST.owners ${state}/builds/hold.1/app; do
  try "cat $file"; try "echo spoiled > $file"; try "chmod 666 $file"; try "rm $file"; try "ln $file $WORKSPACE/link"
done
try "ls ${state}/kept"; try "ls ${state}/partial"; try "touch ${state}/kept/new"; try "rm $LABGEAR_INPUT_APP"
try "mv $LABGEAR_INPUT_APP $LABGEAR_INPUT_APP.old"; try "ln $LABGEAR_INPUT_APP ${state}/kept/new"
chmod u+w "$LABGEAR_INPUT_APP"; echo spoiled > "$LABGEAR_INPUT_APP"; echo looked`;
  box.write(
    "/etc/labgear/conf.d/inputs.yaml",
    `host: { executors: 2 }
jobs:
  hold: { inputs: { app: { max: 1MiB } }, run: 'id -un; exec sleep 4322' }
  spoil: { inputs: { app: { max: 1MiB } }, parameters: [DIGEST], run: ${JSON.stringify(attack)} }
`,
  );
  await box.sh("labgear reload; echo firmware > /root/app");
  const digest = (await box.sh("sha256sum /root/app")).slice(0, 64);
  const holding = box.start("labgear build hold --file app=/root/app");
  const copy = `${state}/builds/hold.1/app`;
  await box.sh("timeout 60 sh -c 'until pgrep -f \"sleep 432[2]\"; do sleep 0.1; done'");
  const [owner, other] = ["labgear-build1", "labgear-build2"];
  const users = await box.sh(`stat -c %U ${copy}; pgrep -f "sleep 432[2]" | xargs ps -o user:20= -p`);
  assert.match(users, new RegExp(`^(${owner}|${other})\n\\1$`));
  for (const again of ["received", "sent before"]) {
    const found = await box.sh(`labgear build spoil -p DIGEST=${digest} --file app=/root/app`);
    assert.match(found, new RegExp(`input app: .*${again}.*\n${digest}  -$`, "m"));
    assert.match(found, /^looked$/m);
    assert.doesNotMatch(found, /^HOLE/m);
    assert.equal(await box.sh(`sha256sum < ${state}/kept/${digest}; cat ${copy}`), `${digest}  -\nfirmware`);
  }
  await box.sh(`stat -c '%U %a' ${state}/kept | grep -x 'labgear 700'; labgear stop box 'hold#1'`);
  await holding;
  await box.sh(`rm /etc/labgear/conf.d/inputs.yaml; labgear reload; ! ls ${state}/builds/hold.1`);
}

/** What a build makes for itself alone is kept and removed all the same, and what is kept is the agent's. */
async function handsOver(box: Box): Promise<void> {
  const run = `umask 077; mkdir -p $LABGEAR_ARTIFACTS/deep/er ~/a/b /tmp/c reports; echo kept > $LABGEAR_ARTIFACTS/deep/er/f
echo found > reports/f; test -e reports/old || echo old > reports/old; touch ~/a/b/x /tmp/c/x; mkdir -p -m 1777 /tmp/sticky; touch /tmp/sticky/x; chmod 0 ~/a
test "$(stat -c %U $WORKSPACE $LABGEAR_ARTIFACTS $LABGEAR_CACHE/c ~ | sort -u)" = "$(id -un)"`;
  box.write(
    "/etc/labgear/conf.d/hands.yaml",
    `jobs: { hands: { artifacts: [reports], caches: [c], run: ${JSON.stringify(run)} } }\n`,
  );
  await box.sh("labgear reload; labgear build hands; labgear build hands");
  const pages = "http://127.0.0.1:8430/builds/hands/2/artifacts";
  assert.equal(await box.sh(`curl -sf ${pages}/deep/er/f ${pages}/reports/f`), "kept\nfound");
  // It is the first build's, whoever has opened it for the agent since.
  await box.sh(`! curl -sf ${pages}/reports/old`);
  await box.sh(`! find /var/lib/labgear/builds ! -user labgear | grep .
    ! find /var/lib/labgear/workspaces /var/lib/labgear/caches -maxdepth 2 ! -user labgear | grep .
    timeout 60 sh -c 'while ls /var/lib/labgear/scratch | grep -q .; do sleep 0.1; done'
    rm /etc/labgear/conf.d/hands.yaml; labgear reload`);
  assert.doesNotMatch(await box.sh("journalctl --no-pager -u labgear"), /it takes space and is left/);
}

/** The helper does for the agent's user what the agent does, and nothing else. */
async function helperRefuses(box: Box): Promise<void> {
  const base = "$(echo /sys/fs/cgroup/system.slice/labgear.service/labgear-*)";
  await box.sh(`mkdir ${base}/build-probe; chown -R labgear ${base}/build-probe
    install -d -o labgear /var/lib/labgear/scratch/probe.1 /var/lib/labgear/scratch/links.1
    install -d -o ${build} /var/lib/labgear/scratch/probe.1/home /var/lib/labgear/scratch/probe.1/tmp /var/lib/labgear/scratch/probe.1/var-tmp
    mkdir /var/lib/labgear/scratch/probe.1/roots
    ln -s /var/lib/labgear-build/1 /var/lib/labgear/scratch/links.1/home; ln -s /etc /var/lib/labgear/scratch/links.1/tmp`);
  box.write(
    "/srv/probe.py",
    `import glob, json, socket, sys
agent = int(sys.argv[1]); scratch = "/var/lib/labgear/scratch/"
place = dict(scratch=scratch + "probe.1", network="full", devices=[])
fine = dict(verb="start", id=1, agent=agent, pipes=[None, 0, 0], user="${build}", group=glob.glob("/sys/fs/cgroup/system.slice/labgear.service/labgear-*/build-probe")[0],
  folder="/", place=place, argv=["/bin/true"], env={}, belongings=[])
def say(request):
    s = socket.socket(socket.AF_UNIX); s.settimeout(60); s.connect("/run/labgear-helper/socket")
    s.sendall(json.dumps(request).encode() + b"\\n")
    print(json.dumps(request), "->", s.makefile().readline().strip() or "closed")
def ask(**change): say({**fine, **change})
for user in ["root", "labgear", "labgear-fetch"]: ask(user=user)
for user in ["root", "labgear"]: ask(user=user, place=None)
groups = ["/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/system.slice/labgear.service", fine["group"] + "/../../../ssh.service"]
for group in groups: ask(group=group)
for group in groups: say(dict(verb="signal", id=1, agent=agent, group=group, signal="SIGKILL"))
for folder in ["/etc", scratch, scratch + "..", scratch + "../../x", scratch + "links.1", scratch + "none"]: ask(place=dict(place, scratch=folder))
# What the agent has open that is no pipe, and another user's process.
for output in [0, 2, 9999]: ask(pipes=[None, output, output]); ask(pipes=[output, 0, 0])
ask(agent=1)
say(dict(verb="outsiders", id=1, agent=1))
state = "/var/lib/labgear/"
for path in ["/etc/passwd", "/root", state + "builds", state + "scratch/links.1/tmp", state + "scratch/links.1/home/x", state + "builds/../../../../etc/shadow", state + "scratch/probe.1/roots"]:
    ask(belongings=[path])
    say(dict(verb="take", id=1, agent=agent, belongings=[path]))
    say(dict(verb="own", id=1, agent=agent, path=path, user="${build}"))
for user in ["root", "labgear"]: say(dict(verb="own", id=1, agent=agent, path=scratch + "probe.1/home", user=user))
say(dict(verb="own", id=1, agent=1, path=scratch + "probe.1/home", user=None))
say(dict(verb="take", id=1, agent=1, belongings=[scratch + "probe.1/home"]))
say(dict(verb="signal", id=1, agent=1, group=fine["group"], signal="SIGKILL"))
`,
  );
  const answers = await box.sh(
    `setpriv --reuid labgear --regid labgear --init-groups python3 /srv/probe.py $(systemctl show --value -p MainPID labgear)`,
  );
  const lines = answers.split("\n");
  assert.equal(lines.length, 51, answers);
  for (const line of lines) assert.match(line, /"state":"failed"|ENOENT|-> closed/, line);
  await box.sh(
    `rmdir ${base}/build-probe; rm -r /var/lib/labgear/scratch/probe.1 /var/lib/labgear/scratch/links.1`,
  );
}

/** A build has the nodes that its job names, also of an adapter that is plugged in later (without a driver, it says so), and no other. */
async function devices(box: Box): Promise<void> {
  await box.sh(
    "mknod /dev/ttyLATE c 204 64; mknod /dev/ttyUSB7 c 188 7; chmod 600 /dev/ttyLATE /dev/ttyUSB7",
  );
  const opened = (job: string, node: string) => box.sh(`labgear build ${job} -p NODE=${node} 2>&1 || true`);
  for (const node of ["/dev/ttyLATE", "/dev/ttyUSB7"]) {
    assert.match(await opened("device", node), /No such device/, node);
    assert.match(await opened("other", node), /No such file/, node);
  }
  assert.match(await opened("device", "/dev/disk0"), /No such file/);
  // The second wall: the unit lets nobody make such a node.
  assert.match(await opened("disk", "-"), /disk0 is no character device/);
  assert.match(await opened("tape", "-"), /sg7.*not permitted/);
}

/** The second wall: what starts processes for users starts none for these, even if root asks for it. */
async function accounts(box: Box): Promise<void> {
  const refused =
    await box.sh(`! su -s /bin/sh ${build} -c id 2>&1; loginctl enable-linger ${build} 2>&1 || true
    ! systemctl start user@$(id -u ${build}).service 2>&1; ! find /proc -maxdepth 1 -user ${build} | grep .`);
  assert.match(refused, /expired/);
  await box.sh(`rm -f /var/lib/systemd/linger/${build}`);
}

/** As an earlier hole may have left them: the doctor finds each, the agent ends what runs. */
async function leftovers(box: Box): Promise<void> {
  assert.match(await box.sh("labgear doctor"), /^ok +leftovers +builds have left nothing/m);
  await plant(box);
  const found = await box.sh("labgear doctor || true");
  const expected = [
    /process \d+ \(\S*sleep 4321\)/,
    /a crontab/,
    /a job of at/,
    /lingering on/,
    /user units/,
  ];
  for (const one of expected) assert.match(found, one);
  const asAgent = await box.sh(
    "setpriv --reuid labgear --regid labgear --init-groups labgear doctor || true",
  );
  for (const one of [expected[0], expected[3]]) assert.match(asAgent, one as RegExp);
  assert.match(asAgent, /can't look into \S+ and \d+ more/);
  await box.sh(
    "labgear build victim; timeout 60 sh -c 'while pgrep -f \"sleep 432[1]\"; do sleep 0.1; done'",
  );
  // The log follows the kill.
  for (const one of ["a crontab", "a job of at", "lingering on", "user units"])
    await box.sh(
      `timeout 60 sh -c 'until journalctl --no-pager -u labgear | grep -q "${one}"; do sleep 0.1; done'`,
    );
  const journal = await box.sh("journalctl --no-pager -u labgear");
  assert.match(journal, /killed process \d+ \(\S*sleep 4321\) of labgear-build1, outside of the unit/);
}

async function plant(box: Box): Promise<void> {
  await box.sh(`systemd-run --collect --unit=stray --uid=${build} sleep 4321
    echo '* * * * * true' | crontab -u ${build} -
    touch /var/spool/cron/atjobs/a00001; chown ${build} /var/spool/cron/atjobs/a00001
    touch /var/lib/systemd/linger/${build}
    install -d -o ${build} /var/lib/labgear-build/1/.config/systemd/user`);
}

/** It takes all that is left, too. */
async function purge(box: Box): Promise<void> {
  await plant(box);
  const uid = await box.sh(`id -u ${build}`);
  const said = await box.sh("dpkg --purge labgear 2>&1");
  assert.doesNotMatch(said, /still there/);
  const left = `find /proc -maxdepth 1 -user ${uid}; find / -xdev -path /proc -prune -o \\( -user ${uid} -o -name '*${build}*' \\) -print; grep labgear /etc/passwd /etc/group || true`;
  assert.equal(await box.sh(left), "");
}

/** check and doctor as root say what the agent can't read; a restart with it is refused. */
async function agentsEyes(box: Box): Promise<void> {
  await box.sh(
    "echo 'jobs: { more: { run: id } }' > /etc/labgear/conf.d/root.yaml; chmod 600 /etc/labgear/conf.d/root.yaml",
  );
  const unreadable = /root\.yaml can't be read by the user labgear/;
  for (const command of ["check", "doctor", "restart --when-idle"]) {
    assert.match(await box.sh(`! labgear ${command} 2>&1`), unreadable, command);
  }
  const again = await box.sh("dpkg-reconfigure labgear 2>&1");
  assert.match(again, unreadable);
  assert.match(again, /keeps running the old version/);
  await box.sh("rm /etc/labgear/conf.d/root.yaml; labgear build victim");
}

/** A job server of another kind lets in everyone, builds too: the doctor says so. */
async function foreignServer(box: Box): Promise<void> {
  const open = /asks for no client certificate/;
  assert.doesNotMatch(await box.sh("labgear doctor || true"), open, "the embedded one refuses builds");
  await box.sh(`systemd-run --unit=server python3 -c 'import socketserver
class Empty(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(b".\\n")
socketserver.ThreadingTCPServer(("127.0.0.1", 4731), Empty).serve_forever()'`);
  box.write("/etc/labgear/conf.d/server.yaml", 'servers: ["127.0.0.1:4731"]\n');
  assert.match(await box.sh("labgear doctor || true"), open);
  await box.sh("rm /etc/labgear/conf.d/server.yaml");
}
