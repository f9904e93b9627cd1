/** Devices as they are read: defaults, the ways to name a port, drop-ins; and who may look at the pages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "#/config/load.ts";
import type { Config, PortConfig } from "#/config/model.ts";
import { folder } from "./folder.ts";

/** @returns the configuration of a file with a secret beside it */
async function load(text: string, more: Readonly<Record<string, string>> = {}): Promise<Config> {
  using dir = folder({ "labgear.yaml": text, secret: "x\n", ...more });
  const config = await loadConfig({ file: dir.at("labgear.yaml") });
  return JSON.parse(JSON.stringify(config, mapsAsObjects).replaceAll(`${dir.path}/`, "")) as Config;
}

function mapsAsObjects(_: string, value: unknown): unknown {
  return value instanceof Map ? Object.fromEntries(value) : value;
}

test("a device with nothing but what it needs: every default", async () => {
  const { devices } = await load("devices: {a: {classes: [c], port: /dev/ttyUSB0, console: linux}}");
  assert.deepEqual(devices, {
    a: {
      name: "a",
      classes: ["c"],
      port: {
        address: { kind: "tty", match: { path: "/dev/ttyUSB0" } },
        baud: 115_200,
        flow: "none",
      },
      console: "linux",
      power: { timeoutMs: 30_000 },
      health: {},
      quarantineAfter: 3,
      bootTimeoutMs: 120_000,
      bootSilenceMs: 15_000,
    },
  });
});

test("devices with every option", async () => {
  const { devices } = await load(`
devices:
  a:
    classes: [c, d]
    port: { by-id: usb-x, usb: 0403:6A01, serial: "007", location: 1-1.4, interface: 1, baud: 9600, flow: rtscts, parity: even, stop-bits: 2 }
    console: linux
    login: { user: root, password-file: secret, prompts: { login: "Name:", password: "Wort:" }, then: [{ expect: "Terminal type", send: vt100 }, { expect: "Press Enter", send: "" }] }
    prompt: "board> "
    power: { on: a, off: b, cycle: c, timeout: 60s }
    reset: rts
    restore: { flash: f, lend: true, timeout: 1m }
    health: { probe: uname -m, expect: aarch64, job: j }
    quarantine-after: 5
    boot-timeout: 30s
    boot-silence: 8s
  b: { classes: [d], port: tcp://c:1, console: u-boot, autoboot-key: "\\x03" }
jobs: { j: { nodes: [d], shell: x } }
`);
  assert.deepEqual(devices, {
    a: {
      name: "a",
      classes: ["c", "d"],
      port: {
        address: {
          kind: "tty",
          match: { byId: "usb-x", usb: "0403:6a01", serial: "007", location: "1-1.4", interface: 1 },
        },
        baud: 9600,
        flow: "rtscts",
        parity: "even",
        stopBits: 2,
      },
      console: "linux",
      login: {
        user: "root",
        passwordFile: "secret",
        prompts: { login: "Name:", password: "Wort:" },
        answers: [
          { expect: "Terminal type", send: "vt100" },
          { expect: "Press Enter", send: "" },
        ],
      },
      prompt: "board> ",
      power: { on: "a", off: "b", cycle: "c", timeoutMs: 60_000 },
      reset: "rts",
      restore: { kind: "flash", script: "f", lend: true, timeoutMs: 60_000 },
      health: { probe: "uname -m", expect: "aarch64", job: "j" },
      quarantineAfter: 5,
      bootTimeoutMs: 30_000,
      bootSilenceMs: 8000,
    },
    b: {
      name: "b",
      classes: ["d"],
      port: { address: { kind: "tcp", host: "c", port: 1 }, baud: 115_200, flow: "none" },
      console: "u-boot",
      autobootKey: "\x03",
      power: { timeoutMs: 30_000 },
      health: {},
      quarantineAfter: 3,
      bootTimeoutMs: 120_000,
      bootSilenceMs: 15_000,
    },
  });
});

test("every console, and a prompt as a pattern", async () => {
  for (const console of ["linux", "u-boot", "barebox", "zephyr", "nuttx", "micropython", "raw"]) {
    const prompt = console === "raw" || console === "micropython" ? "" : ', prompt: "/dev #\\\\d+>/"';
    const { devices } = await load(
      `devices: {a: {classes: [c], port: /dev/x, console: ${console}${prompt}}}`,
    );
    const { a } = devices as unknown as Record<string, { console: string; prompt?: string }>;
    assert.deepEqual([a?.console, a?.prompt], [console, prompt === "" ? undefined : "/dev #\\d+>/"]);
  }
});

test("ports: paths and addresses, in short and in long", async () => {
  const ports: Record<string, PortConfig["address"]> = {
    "/dev/serial/by-id/usb-x": { kind: "tty", match: { path: "/dev/serial/by-id/usb-x" } },
    "/srv/lab/boards/.pi..4": { kind: "tty", match: { path: "/srv/lab/boards/.pi..4" } },
    "{path: /dev/ttyS1}": { kind: "tty", match: { path: "/dev/ttyS1" } },
    "tcp://console.example:4001": { kind: "tcp", host: "console.example", port: 4001 },
    '"rfc2217://[::1]:4002/"': { kind: "rfc2217", host: "::1", port: 4002 },
    "telnet://console.example:23": { kind: "telnet", host: "console.example", port: 23 },
    "{url: 'rfc2217://10.0.0.7:4002'}": { kind: "rfc2217", host: "10.0.0.7", port: 4002 },
  };
  for (const [port, address] of Object.entries(ports)) {
    const { devices } = await load(`devices: {a: {classes: [c], port: ${port}, console: raw}}`);
    const { a } = devices as unknown as Record<string, { port: PortConfig }>;
    assert.deepEqual(a?.port, { address, baud: 115_200, flow: "none" });
  }
});

test("adapters told apart by one key more than the other has in common are two ports", async () => {
  const { devices } = await load(`devices:
  a: { classes: [c], port: { serial: X, interface: 0 }, console: raw }
  b: { classes: [c], port: { serial: X, interface: 1 }, console: raw }
  c: { classes: [c], port: { serial: Y }, console: raw }
  d: { classes: [c], port: tcp://h:1, console: raw }
  e: { classes: [c], port: tcp://h:2, console: raw }`);
  assert.deepEqual(Object.keys(devices), ["a", "b", "c", "d", "e"]);
});

test("drop-ins add devices and change them; a file is named from the file that names it", async () => {
  const { devices } = await load(
    "devices: {a: {classes: [c], port: {path: /dev/x, baud: 9600}, console: raw}}",
    {
      "conf.d/1.yaml":
        "devices: {a: {port: {baud: 57600}, console: linux, login: {user: u, password-file: own}}, b: {classes: [c], port: /dev/y, console: raw}}",
      "conf.d/own": "x",
    },
  );
  const { a, b } = devices as unknown as Record<string, { port: PortConfig; login?: object }>;
  assert.deepEqual(
    [a?.port.baud, a?.login, b?.port.baud],
    [57_600, { user: "u", passwordFile: "conf.d/own" }, 115_200],
  );
});

test("who may look at the pages", async () => {
  const basic = await load("http: {auth: {user: lab, password-file: secret}}");
  assert.deepEqual(basic.http.auth, { kind: "basic", user: "lab", passwordFile: "secret" });
  const token = await load("http: {auth: {token-file: secret}}");
  assert.deepEqual(token.http.auth, { kind: "token", tokenFile: "secret" });
});
