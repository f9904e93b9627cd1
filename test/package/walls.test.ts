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

const jobs = `name: box
http: { listen: "0.0.0.0:8430" }
jobs:
  victim: { run: echo VICTIMSECRET }
  attack: { run: ${JSON.stringify(attacks)} }
  device: { parameters: [NODE], run: 'python3 -c "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)" $NODE' }
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

/** Ports work, also of an adapter that is plugged in later; a node without a driver says so, a closed one is refused. */
async function devices(box: Box): Promise<void> {
  await box.sh(
    `mknod /dev/ttyLATE c 204 64; mknod /dev/ttyUSB7 c 188 7; chown ${build} /dev/ttyLATE /dev/ttyUSB7`,
  );
  for (const node of ["/dev/ttyLATE", "/dev/ttyUSB7"]) {
    assert.match(await box.sh(`labgear build device -p NODE=${node} 2>&1 || true`), /No such device/, node);
  }
  for (const node of ["/dev/disk0", "/dev/sg7"]) {
    assert.match(await box.sh(`labgear build device -p NODE=${node} 2>&1 || true`), /not permitted/, node);
  }
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
  const journal = await box.sh("journalctl --no-pager -u labgear");
  assert.match(journal, /killed process \d+ \(\S*sleep 4321\) of labgear-build1, outside of the unit/);
  for (const one of expected.slice(1)) assert.match(journal, one);
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
