/** The command line itself: help, versions, and wrong calls. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { commandNames } from "#/cli/commands.ts";
import { version } from "#/lib/version.ts";
import { labgear } from "../support/agent.ts";

const concurrency = 2;

/** A wrong call: exit 2, nothing on standard output, one line on standard error. */
async function refused(args: readonly string[], expected: RegExp, env?: NodeJS.ProcessEnv): Promise<void> {
  const { exitCode, stdout, stderr } = await labgear(args, { ...(env && { env }) });
  assert.equal(exitCode, 2, `${args.join(" ")}: ${stderr}`);
  assert.equal(stdout, "");
  assert.match(stderr, /^labgear[^\n]*\n$/, "one line");
  assert.match(stderr, expected);
}

describe("help", { concurrency }, () => {
  test("labgear, --help, -h, help and help --help list every command", async () => {
    const [first = "", ...others] = await Promise.all(
      [[], ["--help"], ["-h"], ["help"], ["help", "--help"]].map(async (args) => {
        const { exitCode, stdout, stderr } = await labgear(args);
        assert.deepEqual([exitCode, stderr], [0, ""]);
        return stdout;
      }),
    );
    for (const other of others) assert.equal(other, first);
    for (const name of commandNames) assert.match(first, new RegExp(`^  ${name} {2,}\\S`, "m"));
  });

  test("--version and -V tell the version", async () => {
    for (const option of ["--version", "-V"]) {
      const { exitCode, stdout } = await labgear([option]);
      assert.deepEqual([exitCode, stdout], [0, `labgear ${version}\n`]);
    }
  });

  for (const name of commandNames) {
    test(`${name} --help`, async () => {
      const { exitCode, stdout, stderr } = await labgear([name, "--help"]);
      assert.deepEqual([exitCode, stderr], [0, ""]);
      assert.match(stdout, new RegExp(`^Usage: labgear ${name}( |\\n)`));
      assert.equal(stdout.match(/Usage:/g)?.length, 1);
      assert.doesNotMatch(stdout, /default: \[\]|undefined/);
      const options = stdout.match(/^ {2}(?:-\w, )?--[a-z-]+/gm) ?? [];
      assert.equal(new Set(options).size, options.length, "each option once");
    });
  }

  test("help COMMAND is COMMAND --help", async () => {
    const [help, option] = await Promise.all([labgear(["help", "build"]), labgear(["build", "--help"])]);
    assert.deepEqual([help.exitCode, help.stdout], [0, option.stdout]);
  });
});

describe("wrong calls", { concurrency }, () => {
  const calls: [string, RegExp, NodeJS.ProcessEnv?][] = [
    ["bild", /no command "bild" \(did you mean "build"\?\); see `labgear --help`/],
    ["\u001b[2J", /no command "\\u\{1b\}\[2J"; see/],
    ["--bogus", /no option "--bogus"; see `labgear --help`/],
    ["help bogus", /no command "bogus"/],
    ["build", /missing required argument 'job'; see `labgear build --help`/],
    ["build a b", /too many arguments.*; see `labgear build --help`/],
    ["build a --bogus", /unknown option '--bogus'; see/],
    ["build a --jso", /unknown option '--jso' \(Did you mean --json\?\); see/],
    ["build a -p novalue", /'novalue' is invalid: expected KEY=VALUE; see/],
    ["build a -p =value", /'=value' is invalid: expected KEY=VALUE; see/],
    ["build a -p ZUUL_UUID=", /expected 1 to 64 printable/],
    ["build a --server h:1:2", /'h:1:2' is invalid: expected HOST or HOST:PORT, IPv6 in brackets; see/],
    ["build a --server h:0", /'h:0' is invalid: expected HOST or HOST:PORT/],
    [
      "functions",
      /LABGEAR_SERVER: expected HOST or HOST:PORT, IPv6 in brackets, found "h:1:2"/,
      { LABGEAR_SERVER: "h:1:2" },
    ],
    ["functions --server h --tls-key k", /need --tls-ca as well/],
    ["functions --server h --tls-ca /nowhere", /the TLS file \/nowhere can't be read: ENOENT/],
    ["functions --tls-ca f", /--tls-ca needs --server/],
    ["functions --config /nowhere.yaml", /\/nowhere\.yaml does not exist/],
    ["stop", /missing required argument 'build'; see/],
    ["stop job#1 --control /nowhere.sock", /job#1 needs its MANAGER: `labgear stop MANAGER job#1`/],
    ["build a --priority urgent", /Allowed choices are high, normal, low; see/],
    ["build a --queue-timeout soon", /'soon' is invalid: expected a duration such as 90s, 30m or 1h30m; see/],
    ["build a --client-timeout 1s", /expected whole seconds from 5s to 24h, or 0; see/],
    ["build a --retry-infra -1", /expected a number from 0 to 999; see/],
    ["build a --file app", /'app' is invalid: expected NAME=PATH; see/],
    [
      "build a --file App=x",
      /an input's name has small letters, digits and _, and begins with a letter; see/,
    ],
    ["build a --file app=/nowhere", /--file app: \/nowhere can't be read: ENOENT/],
    ["build a --detach --fetch out", /'--detach' cannot be used with option '--fetch <folder>'; see/],
    ["build a --json --quiet", /'--json' cannot be used with option '-q, --quiet'; see/],
    [
      "investigate box job#1 --minutes 0",
      /expected a number from 1 to 9999; see `labgear investigate --help`/,
    ],
    ["stop box job#zero", /expected JOB#NUMBER or a uuid; see `labgear stop --help`/],
    ["log job#0", /expected JOB#NUMBER or a uuid; see `labgear log --help`/],
    ["builds -n many", /'many' is invalid: expected a number of 1 or more; see/],
    ["builds -n 0", /expected a number of 1 or more/],
    ["restart", /a restart in the middle of a build would lose it.*`labgear restart --help`/],
    ["status extra", /too many arguments/],
    ["agent --log-level loud", /Allowed choices are debug, info, warn, error; see/],
    ["agent --config /nowhere.yaml", /\/nowhere\.yaml does not exist/],
    ["check --config /nowhere.yaml", /\/nowhere\.yaml does not exist/],
  ];
  for (const [call, expected, env] of calls) {
    test(JSON.stringify(call), () => refused(call.split(" "), expected, env));
  }
});
