/** What a control group reaches through the filter, by the kernel's own judgement. */
import assert from "node:assert/strict";
import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { onlyReach } from "#/helper/filter.ts";
import { detectCgroups } from "#/runners/trees/cgroup.ts";
import { lacksRoot } from "../support/nobody.ts";

const home = await detectCgroups();
const skip = "unavailable" in home ? "NOT TESTED HERE: it takes control groups of version 2" : lacksRoot();

/** Sends a datagram from a group with that filter to each address; nobody listens there. */
async function reached(networks: readonly string[], addresses: readonly string[]): Promise<string[]> {
  if ("unavailable" in home) throw new Error(home.unavailable);
  const group = join(home.mount, `labgear-filter-${process.pid}`);
  mkdirSync(group);
  try {
    onlyReach(group, networks);
    const script = `echo $$ > "$1/cgroup.procs"; shift
for address; do perl -MSocket=:all -e '
  my ($error, $found) = getaddrinfo($ARGV[0], 9, { socktype => SOCK_DGRAM, flags => AI_NUMERICHOST });
  socket(my $s, $found->{family}, SOCK_DGRAM, 0) or die $!;
  print "$ARGV[0]\\n" if defined send($s, "x", 0, $found->{addr})' "$address"; done`;
    const { stdout } = await execa("/bin/sh", ["-euc", script, "sh", group, ...addresses]);
    return stdout.split("\n").filter(Boolean);
  } finally {
    rmdirSync(group);
  }
}

test("only what is listed is reached, by prefix, and by both families", { skip }, async () => {
  const addresses = ["127.0.0.1", "127.0.0.2", "127.9.0.1", "127.128.0.1", "::1"];
  assert.deepEqual(await reached(["127.0.0.2"], addresses), ["127.0.0.2"]);
  assert.deepEqual(await reached(["127.0.0.0/9"], addresses), ["127.0.0.1", "127.0.0.2", "127.9.0.1"]);
  assert.deepEqual(await reached(["127.128.0.0/9", "::1"], addresses), ["127.128.0.1", "::1"]);
  assert.deepEqual(await reached(["::/1"], addresses), ["::1"]);
  assert.deepEqual(await reached(["8000::/1", "0:0:1::/48", "10.0.0.0/8"], addresses), []);
  assert.deepEqual(await reached(["0.0.0.0/0", "::/0"], addresses), addresses);
});
