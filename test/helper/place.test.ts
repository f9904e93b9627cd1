/** The way into a build's place, with real namespaces: what is new there, and what the command gets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { insideMark, startInPlace } from "#/helper/place.ts";
import type { Network } from "#/helper/protocol.ts";
import { lacksRoot } from "../support/nobody.ts";

/** Namespaces for mounts take root. */
const skip = lacksRoot();
const uid = 65_534;

/** Not below /tmp, which is another one in there, and where every user gets. */
const base = "/var/lib";

/** A folder as the agent makes it, and a folder in the place of a control group. */
function makePlace() {
  const scratch = mkdtempSync(join(base, "labgear-place-"));
  chmodSync(scratch, 0o711);
  const home = join(scratch, "account");
  for (const name of ["home", "tmp", "var-tmp", "account", "group"]) {
    mkdirSync(join(scratch, name));
    chownSync(join(scratch, name), uid, uid);
  }
  return {
    ...{ scratch, home },
    [Symbol.dispose]: () => rmSync(scratch, { recursive: true, force: true }),
  };
}

async function run(
  script: string | readonly [string, ...string[]],
  options: {
    network?: Network;
    devices?: readonly string[];
    env?: Record<string, string>;
    scratch?: string;
  } = {},
) {
  using place = makePlace();
  const { scratch, home } = place;
  const account = { name: "nobody", uid, gid: uid, home };
  const request = {
    ...{ verb: "start" as const, id: 1, agent: process.pid, pipes: [null, 1, 2] as const, user: "nobody" },
    ...{ group: join(scratch, "group"), folder: "/", env: options.env ?? {} },
    belongings: [],
    place: {
      scratch: options.scratch ?? scratch,
      network: options.network ?? ("full" as const),
      devices: options.devices ?? ("all" as const),
    },
    argv: typeof script === "string" ? (["/bin/sh", "-ec", script] as const) : script,
  };
  const agent = openSync("/proc/self", constants.O_RDONLY | constants.O_DIRECTORY);
  const child = startInPlace(request, {
    account,
    agent,
    stdio: ["ignore", "pipe", "pipe"],
    handOver: () => {},
  });
  closeSync(agent);
  const pipes: readonly unknown[] = child.stdio;
  const [output, errors, report, [code]] = await Promise.all([
    text(child.stdout as Readable),
    text(child.stderr as Readable),
    text(pipes[3] as Readable),
    once(child, "close"),
  ]);
  return { code, output, errors, report };
}

test("home, tmp, shared memory and IPC are new, and the rest of the box is there", { skip }, async () => {
  const { code, output, errors, report } = await run(`
    echo home > ~/file; echo tmp > /tmp/file; echo var > /var/tmp/file; echo shm > /dev/shm/file
    ls -A ~ /tmp /var/tmp /dev/shm; pwd; id -u; test -e /etc/passwd; wc -l < /proc/sysvipc/shm; grep CapBnd /proc/self/status
    ls /proc/1 2>/dev/null || echo hidden; ls /proc/self/fd | grep -c '^[4-9]$' || true`);
  assert.equal(report, insideMark);
  assert.equal(errors, "");
  assert.equal(code, 0);
  assert.match(output, /^\/\n65534$/m);
  assert.equal(output.match(/^file$/gm)?.length, 4, output);
  assert.match(output, /^1$/m, "no shared memory but the headline");
  assert.match(output, /CapBnd:\s+0+$/m);
  assert.match(output, /^hidden$/m);
  assert.match(output, /^0$/m, "of the launcher's descriptors, none is left");
});

test("the environment is what was asked for, whatever is in it", { skip }, async () => {
  const env = {
    ...{ PATH: "/usr/bin:/bin", QUOTES: `'"$(id)\`id\``, LINES: "a\nb=c\n", EMPTY: "", UTF: "ü→" },
    ...{ LD_DEBUG_OUTPUT: "/tmp/none", HOME: "/elsewhere" },
  };
  const { output, report } = await run(["/usr/bin/env", "-0"], { env });
  assert.equal(report, insideMark);
  const { HOME, ...seen } = Object.fromEntries(
    output
      .split("\0")
      .filter(Boolean)
      .map((one) => /^([^=]*)=(.*)$/s.exec(one)?.slice(1) ?? []),
  );
  const { HOME: _home, ...wanted } = env;
  assert.deepEqual(seen, { ...wanted, USER: "nobody", LOGNAME: "nobody" });
  assert.match(HOME, /account$/);
});

test("network: none has a loopback of its own", { skip }, async () => {
  const { code, output, errors } = await run(
    'cat /proc/net/dev | tail -n +3 | cut -d: -f1; perl -MIO::Socket::INET -e \'my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die; IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport) or die; print "reached\\n"\'; test -d /sys/fs/cgroup',
    { network: "none", env: { PATH: "/usr/bin:/bin" } },
  );
  assert.equal(errors, "");
  assert.equal(code, 0);
  assert.deepEqual(output.trim().split(/\s+/), ["lo", "reached"]);
});

test("of devices it has those that it was given", { skip }, async () => {
  const { code, output, errors } = await run(
    `ls /dev | tr '\\n' ' '; echo x > /dev/null; head -c 1 /dev/urandom > /dev/full || echo full; stat -c '%U %a' /dev/console
    echo shared > /dev/shm/file; perl -MPOSIX -e 'open(my $t, "+<", "/dev/ptmx") or die $!; print "terminal\\n"'`,
    { devices: ["console"], env: { PATH: "/usr/bin:/bin" } },
  );
  assert.equal(code, 0, errors);
  const nodes = "console fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
  assert.deepEqual(output.trim().split("\n"), [`${nodes} full`, "nobody 600", "terminal"]);
});

test("the helper is where it was, also after a place that can't be made", { skip }, async () => {
  const namespaces = () => ["mnt", "ipc", "net"].map((name) => readlinkSync(`/proc/self/ns/${name}`));
  const before = namespaces();
  await run("true", { network: "none", devices: [] });
  assert.deepEqual(namespaces(), before);
  await assert.rejects(run("true", { network: "none", scratch: "/etc" }), /ENOENT|isn't a folder/);
  assert.deepEqual(namespaces(), before);
});
