/** The Debian package on whole systems, booted: install, builds, upgrade, downgrade, removal, and what a build can't do. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { AgentStatus } from "#/lib/status.ts";
import { Box, type Release, releases } from "./box.ts";
import { lacksPrograms, making, nextVersion, type Products, products, version } from "./products.ts";

const lack = lacksPrograms("mmdebstrap", "systemd-nspawn", "dh", "aarch64-linux-gnu-strip");

/** All that may change for good by an installation and a removal, besides the package's own. */
const elsewhere = [
  "/proc",
  "/sys",
  "/run",
  "/dev",
  "/tmp",
  "/var/log",
  "/var/tmp",
  "/var/cache",
  "/var/lib/dpkg",
  "/root",
];
const inventory = `find / ${elsewhere.map((path) => `-path ${path} -prune -o`).join(" ")} -path /var/lib/systemd -prune -o -print | sort; getent passwd group | sort`;

const jobs = `name: box
host: { executors: 2 }
jobs:
  pass: { run: "id -un; cat /proc/self/oom_score_adj" }
  wait: { run: "trap 'echo polite; exit 1' TERM; echo began; until [ -e /srv/go ]; do sleep 0.1; done; echo ended" }
  source: { checkout: true, run: "cat greeting; echo left > leftover" }
  secret:
    parameters: [TOKEN]
    run: |
      echo $TOKEN > kept; cp "$LABGEAR_PARAMETERS" copy
      until [ -e /srv/go ]; do sleep 0.1; done
  spy:
    parameters: [AGENT]
    run: |
      # What must be refused, and what it would tell if it weren't.
      try() { if eval "$1" 2>/dev/null; then echo "LEAK: $1"; else echo refused; fi; }
      own=$(dirname "$LABGEAR_ARTIFACTS")
      try 'cat /etc/labgear/secrets/key'
      try 'ls /var/lib/labgear/builds'
      try 'cat $own/build.json'
      try 'echo x >> $own/build.json'
      try 'echo x > $own/new'
      try 'echo x > /var/lib/labgear/state.json'
      try 'cat /var/lib/labgear/builds/secret/1/parameters.json'
      try 'cat /var/lib/labgear/builds/secret/1/console.log'
      try 'ls /var/lib/labgear/workspaces'
      try 'cat /var/lib/labgear/workspaces/*/secret/kept /var/lib/labgear/workspaces/0/secret/kept'
      try 'cat /var/lib/labgear/workspaces/1/secret/kept'
      try 'ls /var/lib/labgear/mirrors'
      try 'ls /var/lib/labgear-fetch'
      try 'ls /var/lib/labgear-build/1 /var/lib/labgear-build/2'
      try 'cat /proc/$AGENT/environ'
      try 'ls /proc/$AGENT/fd'
      try 'kill -0 $AGENT'
      try 'labgear pause'
      try 'echo 0 > /sys/fs/cgroup/system.slice/labgear.service/cgroup.procs'
      for process in /proc/[0-9]*; do
        if grep -q TOKEN= $process/environ 2>/dev/null; then echo "LEAK: $process"; fi
      done
      echo done
`;

for (const release of Object.keys(releases) as Release[]) {
  describe(`a booted ${release}`, { skip: lack, timeout: making * 2 }, () => {
    let made: Products;
    before(
      async () => {
        made = await products();
      },
      { timeout: making },
    );

    test("from the installation to the purge", { timeout: making }, async () => {
      await using box = await Box.boot(release);
      const status = async () => JSON.parse(await box.sh("labgear status --json")) as AgentStatus;
      const until = (condition: string) =>
        box.sh(`timeout 120 sh -c 'until ${condition}; do sleep 0.2; done'`);
      const bare = await box.sh(inventory);

      await box.install(made.now);
      assert.equal((await status()).version, version);
      assert.equal(
        await box.sh("systemctl is-enabled labgear; systemctl is-active labgear"),
        "enabled\nactive",
      );
      assert.equal(await box.sh("systemd-analyze verify labgear.service"), "");
      const exposure = await box.sh("systemd-analyze security --no-pager labgear | tail -1");
      assert.ok(Number(/\d+\.\d+/.exec(exposure)?.[0]) <= 2.1, exposure);
      await box.sh(
        "udevadm control --reload || true; man -w labgear labgear.yaml; bash -n /usr/share/bash-completion/completions/labgear",
      );

      box.write("/etc/labgear/conf.d/jobs.yaml", jobs);
      box.write("/etc/labgear/secrets/key", "SECRETKEY");
      await box.sh("chown labgear: /etc/labgear/secrets/key; echo '# mine' >> /etc/labgear/labgear.yaml");
      // A changed name needs a restart.
      await box.sh("systemctl reload labgear; systemctl restart labgear");
      const passed = await box.sh("labgear build pass");
      assert.match(passed, /^labgear-build\d+$/m);
      assert.match(passed, /^500$/m);
      await buildsAreApart(box);
      await checkoutTwice(box);

      // A stop from afar, and one by the system, which waits for the build.
      const stopped = box.start("labgear build wait");
      await until("labgear status | grep -q wait#1");
      await box.sh("labgear stop box wait#1");
      assert.equal((await stopped).exitCode, 3);
      await box.sh("labgear log wait#1 | grep -qx polite");
      const drained = box.start("labgear build wait");
      await until("labgear status | grep -q wait#2");
      const stop = box.start("systemctl stop labgear");
      await until("labgear status --json | grep -q stopping");
      await box.sh("touch /srv/go");
      assert.equal((await stop).exitCode, 0);
      assert.match((await drained).all, /ended/);
      await box.sh("systemctl start labgear; labgear log wait#2 | grep -qx ended; rm /srv/go");

      const upgraded = box.start("labgear build wait");
      await until("labgear status | grep -q wait#3");
      await box.install(made.next);
      assert.deepEqual([(await status()).version, (await status()).state], [version, "draining"]);
      await box.sh("touch /srv/go");
      const { exitCode, all } = await upgraded;
      assert.equal(exitCode, 0, all);
      await until(`labgear status --json | grep -qF ${nextVersion}`);
      // The agent answers a moment before it tells systemd that it is ready.
      await until("systemctl is-active --quiet labgear");
      assert.equal(
        await box.sh("labgear build pass 2>&1 | grep -c SUCCESS; tail -1 /etc/labgear/labgear.yaml"),
        "1\n# mine",
      );

      await box.install(made.now);
      await until(`labgear status --json | grep -qF '"${version}"'`);
      assert.equal(await box.sh("labgear build pass 2>&1 | grep -c SUCCESS"), "1");
      assert.equal(await box.sh("journalctl --no-pager --quiet -p err | cat"), "");
      await box.sh("labgear doctor");

      await killedAndStuck(box, until);

      await box.sh("rm /srv/go");
      const cut = box.start("labgear build wait");
      await until("labgear status | grep -q wait#4");
      await box.sh("dpkg --remove labgear");
      await cut;
      const theirs = "-user labgear -o -user labgear-fetch -o -user labgear-build1 -o -user labgear-build2";
      assert.equal(await box.sh(`find /proc -maxdepth 1 ${theirs}`), "");
      await box.sh("test -d /var/lib/labgear/builds; test -e /etc/labgear/conf.d/jobs.yaml");
      await box.sh("dpkg --purge labgear; rm -r /srv/project");
      const before = new Set(bare.split("\n"));
      const after = new Set((await box.sh(inventory)).split("\n"));
      // shadow- and the like are what it was before any user was added or removed.
      const left = [...after].filter((line) => !before.has(line) && !/^\/etc\/\w+-$/.test(line));
      const gone = [...before].filter((line) => !after.has(line));
      assert.deepEqual({ left, gone }, { left: [], gone: [] });
    });
  });
}

/** One build has secrets; another one looks for them, and for the agent's. */
async function buildsAreApart(box: Box): Promise<void> {
  const secret = box.start("labgear build secret -p TOKEN=SECRETTOKEN");
  await box.sh(
    "timeout 60 sh -c 'until [ -e /var/lib/labgear/workspaces/[01]/secret/copy ]; do sleep 0.1; done'",
  );
  const found = await box.sh("labgear build spy -p AGENT=$(systemctl show --value -p MainPID labgear)");
  assert.match(found, /^done$/m);
  assert.doesNotMatch(found, /LEAK|SECRET/);
  assert.equal(found.match(/^refused$/gm)?.length, 19, found);
  await box.sh("touch /srv/go");
  assert.equal((await secret).exitCode, 0);
  // Later, too, and as the same user.
  const later = await box.sh("labgear build spy; labgear build spy; rm /srv/go");
  assert.doesNotMatch(later, /LEAK|SECRET/);
}

/** git runs as the build's user, and what it fetched serves the next build. */
async function checkoutTwice(box: Box): Promise<void> {
  // Of root, and no build's.
  await box.sh(`git init -q -b main /srv/project; cd /srv/project; echo hello > greeting; git add .
    git -c user.name=n -c user.email=e commit -qm first`);
  const build = `cd /srv/project; labgear build source -p ZUUL_URL=file:///srv -p ZUUL_PROJECT=project -p ZUUL_REF=refs/heads/main \
    -p ZUUL_COMMIT=$(git rev-parse HEAD)`;
  assert.match(await box.sh(build), /^hello$/m);
  await box.sh(
    "cd /srv/project; echo again > greeting; git -c user.name=n -c user.email=e commit -qam second",
  );
  const second = await box.sh(build);
  assert.match(second, /^again$/m);
  assert.doesNotMatch(second, /with a new mirror/);
  const owners =
    "stat -c %U /var/lib/labgear/mirrors/changes/*/*.git/HEAD; find /var/lib/labgear/mirrors -user labgear-build1";
  assert.equal(await box.sh(owners), "labgear-fetch");
}

/** systemd starts anew what was killed, and what gives no sign of life. */
async function killedAndStuck(box: Box, until: (condition: string) => Promise<string>): Promise<void> {
  const pid = () => box.sh("systemctl show --value -p MainPID labgear");
  const first = await pid();
  await box.sh(`kill -KILL ${first}`);
  await until(`labgear status | grep -q "running since"`);
  const second = await pid();
  assert.notEqual(second, first);
  box.write("/etc/systemd/system/labgear.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\n");
  await box.sh("systemctl daemon-reload; systemctl restart labgear");
  const third = await pid();
  await box.sh(`kill -STOP ${third}`);
  await until(`! kill -0 ${third} 2>/dev/null && labgear status | grep -q "running since"`);
  await box.sh("rm -r /etc/systemd/system/labgear.service.d; systemctl daemon-reload");
}
