/** One grammar of HOST:PORT, for the configuration and the command line. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress, parseAddress } from "#/lib/address.ts";

test("addresses are read, with a default port or without", () => {
  assert.deepEqual(parseAddress("gearman.example", 4730), { host: "gearman.example", port: 4730 });
  assert.deepEqual(parseAddress("gearman.example:1", 4730), { host: "gearman.example", port: 1 });
  assert.deepEqual(parseAddress("10.1.2.3:0"), { host: "10.1.2.3", port: 0 });
  assert.deepEqual(parseAddress("[::1]:4730"), { host: "::1", port: 4730 });
  assert.deepEqual(parseAddress("[2001:db8::7]", 4730), { host: "2001:db8::7", port: 4730 });
  assert.deepEqual(parseAddress("[fe80::1%eth0]:1"), { host: "fe80::1%eth0", port: 1 });
  assert.deepEqual(parseAddress("job_server.local.:7"), { host: "job_server.local.", port: 7 });
  assert.equal(parseAddress("gearman.example"), undefined, "no port, and no default");
});

test("what is no address is refused", () => {
  const refused = ["", ":4730", "a:", "::1:4730", "::1", "[::1", "a:65536", "a:-1", "a:b", "a b:1", "a/b:1"];
  refused.push("http://a:1", "http://a", "a:1\n", "a:1:2", " a", "[]:1", "[a]:1");
  for (const text of refused) assert.equal(parseAddress(text, 4730), undefined, JSON.stringify(text));
});

test("names and numbers that can't be a host's are refused", () => {
  // --server once took these, and the configuration didn't.
  const refused = [
    "300.1.1.1",
    "1.2.3",
    "-a",
    "a-",
    "a..b",
    ".a",
    "a_ä.example",
    "a@b",
    "[fe80.1]",
    "[1.2.3.4]",
  ];
  for (const text of refused) assert.equal(parseAddress(text, 4730), undefined, text);
});

test("formatting is the inverse of parsing", () => {
  for (const text of ["[::1]:4730", "a:1", "10.1.2.3:0"]) {
    const address = parseAddress(text);
    assert.equal(address && formatAddress(address), text);
  }
});
