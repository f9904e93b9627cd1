/** Every table of the command line on terminals of 80, 120 and 200 columns, without colours, and in a pipe. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { table } from "#/cli/table.ts";
import { ControlServer } from "#/control/server.ts";
import type { NodeInfo } from "#/exchange/info.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { AgentStatus, DeviceStatus, Outage } from "#/lib/status.ts";
import { labgear } from "../support/agent.ts";
import { testFolder } from "../support/folders.ts";
import { submitDetached } from "../support/gearman.ts";
import { agentInfo, answering, nodeInfo, startBox, startLabServer } from "../support/lab.ts";
import { patienceMs } from "../support/servers.ts";
import { Running } from "./running.ts";

const widths = [80, 120, 200];
/** Shown as "2 d 4 h" for the next forty minutes. */
const begun = new Date(Date.now() - 52.3 * 3_600_000).toISOString();
const fixed = "2026-11-28T14:02:00.000Z";
const why =
  "login-refused: the board answered 'Login incorrect' to root, twice, with the password of its file";

const outage: Outage = {
  ...{ since: fixed, state: "quarantined", cause: "login-refused", tries: 212, reason: why },
  builds: ["boot-smoke#41", "boot-smoke#42"],
};

const device: DeviceStatus = {
  ...{ name: "rpi4-a", classes: ["rpi4", "arm64", "lab-corner-with-a-long-name"], console: "linux" },
  ...{ port: "serial FT1234 at 115200", path: "/dev/ttyUSB0", state: "ready", since: begun, failures: 0 },
  ...{ history: [], counters: { received: 0, sent: 0, errors: 0, lost: 0, losses: 0 } },
};

const devices: DeviceStatus[] = [
  device,
  { ...device, name: "esp32-rack-3", classes: ["esp32"], path: "/dev/ttyUSB1", state: "quarantined", outage },
  { ...device, name: "mcu-1", classes: ["mcu"], path: "/dev/ttyUSB2", state: "busy", who: "boot-smoke#43" },
];

const build = { assigned: begun, uuid: "u", labels: [], node: "rpi4-a", took: 63_000 };
const change = { url: "https://review.example/1234", change: "1234", patchSet: "7", project: "firmware" };
const builds = [
  { ...build, job: "boot-smoke", number: 43, phase: "running" },
  { ...build, job: "boot-smoke", number: 42, ending: { kind: "infrastructure", reason: why } },
  {
    ...{ ...build, job: "unit-tests", number: 1107, node: "rack7", result: "FAILURE", change },
    ending: {
      kind: "failed",
      reason: "3 of 80 tests failed, first test_spi_timeout: expected 0x8488, got 0xffff",
    },
  },
  {
    ...build,
    job: "unit-tests",
    number: 1106,
    result: "SUCCESS",
    ending: { kind: "passed", reason: "the job passed" },
  },
  { ...build, job: "機能テスト", number: 2, result: "ABORTED", ending: { kind: "stopped", reason: "停止" } },
];

const running = {
  job: "boot-smoke",
  number: 43,
  uuid: "u",
  phase: "running",
  progress: 40,
  assigned: begun,
} as const;
const status: AgentStatus = {
  ...{ name: "rack7", version: "1.0", pid: 4711, since: begun, state: "running", files: [] },
  servers: [
    {
      ...{ server: "gearman.example:4730", state: "waiting" },
      status:
        "2 of 4 connections registered; the worst is connecting again in 12 s, after connection refused",
      connections: { registered: 2, total: 4 },
    },
  ],
  nodes: [
    {
      ...{
        name: "rack7",
        classes: ["x86-64", "fast-disk"],
        state: "ready",
        reasons: [],
        functions: [],
        waiting: [],
      },
      executors: [{ index: 0, build: running }, { index: 1 }],
    },
    {
      ...{ name: "esp32-rack-3", classes: ["esp32"], state: "held", functions: [], waiting: [running] },
      ...{ reasons: [`device: ${why}`], outage, executors: [{ index: 2 }] },
    },
  ],
};

const boards: NodeInfo[] = [
  nodeInfo("rpi4-a", {
    classes: ["rpi4"],
    since: begun,
    build: { name: "boot-smoke", number: 43 },
    state: "busy",
  }),
  nodeInfo("esp32-rack-3", {
    ...{ state: "held", cause: "quarantined", reason: why, since: begun, classes: ["esp32"] },
    outage: { cause: "login-refused", tries: 212 },
  }),
  nodeInfo("mcu-1", {
    ...{ since: begun, state: "busy" },
    lease: { who: "ada@desk", reason: "the new boot loader hangs after a warm reset", until: fixed },
    suspect: { job: "boot-smoke", days: 30, failed: 7, builds: 20, siblingFailed: 1, siblingBuilds: 140 },
  }),
];

/** Rows for the terminal as snapshots: its port is any. */
const withoutPort = (text: string, { port }: ServerAddress): string =>
  text.replaceAll(`127.0.0.1:${port}`, (found) => "127.0.0.1:".padEnd(found.length, "N"));

describe("tables", () => {
  const resources = new AsyncDisposableStack();
  let server: ServerAddress;
  let own: string[];

  before(async () => {
    const folder = resources.use(testFolder());
    const control = join(folder.path, "control.sock");
    const routes = {
      "GET /status": async () => ({ json: status }),
      "GET /builds": async () => ({ json: builds }),
      "GET /devices": async () => ({ json: devices }),
    };
    resources.use(await ControlServer.listen(control, routes, { warn() {} }));
    server = resources.use(await startLabServer());
    resources.use(await startBox(server, "rack7", answering(agentInfo("rack7", boards))));
    await submitDetached(server, "build:smoke:avr");
    own = ["--control", control];
  });
  after(() => resources.disposeAsync());

  const at = () => ["--server", `127.0.0.1:${server.port}`];
  const commands: readonly (readonly [string, () => string[], RegExp])[] = [
    ["status", () => ["status", ...own], /rack7/],
    ["builds", () => ["builds", ...own], /boot-smoke#42/],
    ["devices", () => ["devices", ...own], /mcu-1/],
    ["devices BOX", () => ["devices", "rack7", ...at()], /mcu-1/],
    ["functions", () => ["functions", ...at()], /build:smoke:avr/],
    // A loaded machine may answer late.
    ["lab", () => ["lab", ...at()], /1 of 1 box\b.* just now +no node/s],
    ["lease --list", () => ["lease", "--list", ...at()], /ada@desk/],
  ];

  /** On a terminal of so many columns, again until it shows what it should. */
  const shown = async (args: readonly string[], columns: number, env: NodeJS.ProcessEnv, wanted: RegExp) => {
    for (const giveUp = AbortSignal.timeout(patienceMs); ; ) {
      await using command = Running.onTerminal(args, { columns, env: { TZ: "UTC", ...env } });
      assert.equal(await command.ended, 0, command.stdout);
      if (wanted.test(command.stdout)) return command.stdout.replaceAll("\r\n", "\n");
      assert.ok(!giveUp.aborted, command.stdout);
    }
  };

  for (const [name, args, wanted] of commands) {
    test(name, async (t) => {
      for (const columns of widths) {
        const text = withoutPort(await shown(args(), columns, { NO_COLOR: "1" }, wanted), server);
        assert.equal(text, stripVTControlCharacters(text), "NO_COLOR");
        const longest = Math.max(...text.split("\n").map((line) => line.length));
        assert.ok(longest <= columns, `${longest} columns of ${columns}:\n${text}`);
        t.assert.snapshot(text, { serializers: [(value) => value] });
      }
      const piped = await labgear(args(), { env: { FORCE_COLOR: "1" } });
      assert.equal(piped.stdout, stripVTControlCharacters(piped.stdout), "a pipe");
    });
  }

  test("colours on a terminal say nothing that the text doesn't", async () => {
    const args = ["builds", ...own];
    const plain = await shown(args, 120, { NO_COLOR: "1" }, /SUCCESS/);
    const coloured = await shown(args, 120, { NO_COLOR: undefined }, /SUCCESS/);
    assert.ok(coloured.includes("\u001b[32mSUCCESS\u001b[0m"));
    assert.ok(coloured.includes("\u001b[31mFAILURE\u001b[0m"));
    assert.equal(stripVTControlCharacters(coloured), plain);
    assert.equal(await shown(args, 120, { TERM: "dumb" }, /SUCCESS/), plain);
  });

  test("times: ago on a terminal, ISO in a pipe and in JSON", async () => {
    assert.match(await shown(["builds", ...own], 120, {}, /SUCCESS/), / 2 d ago /);
    for (const more of [[], ["--json"]]) {
      const { stdout } = await labgear(["builds", ...own, ...more]);
      assert.ok(stdout.includes(begun));
    }
  });

  test("columns that nothing fits are wrapped, and no character of a cell acts on the terminal", () => {
    const rows = [
      ["a-very-long-name-that-nothing-can-shorten", "line\nof \u001b[2J two", "漢字漢字漢字漢字"],
    ];
    const text = table(["NAME", "WHAT", { title: "WIDE", fit: "wrap" }], rows, {
      sheet: { columns: 30, isColoured: false },
    });
    assert.deepEqual(text.split("\n"), [
      "NAME      WHAT       WIDE",
      "a-very-l  line\\nof   漢字漢字",
      "ong-name  \\u{1b}[2J  漢字漢字",
      "-that-no  two",
      "thing-ca",
      "n-shorte",
      "n",
      "",
    ]);
  });
});
