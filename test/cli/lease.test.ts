/** Leases on the command line: a board of one's own, through the same queue as builds. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdir, stat } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { runtimeDir, TestAgent } from "../support/agent.ts";
import { becomes, boardYaml } from "../support/boards.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { bounded, type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";
import { startMicroPython } from "../targets/micropython.ts";
import { lacksTarget, type Target } from "../targets/target.ts";
import { Running } from "./running.ts";

const skip = lacksTarget("gearmand", "socat", "qemuArm", "micropythonMicrobit");

/** @throws Error in CI, which has to have them */
function lacksNamespaces(): string | false {
  const tried = spawnSync("unshare", ["--net", "ip", "link", "set", "lo", "up"], { encoding: "utf8" });
  if (tried.status === 0) return false;
  const text = `NOT TESTED HERE: no network namespaces with ip(8): ${tried.stderr}`;
  if (process.env.CI) throw new Error(text);
  return text;
}

/** Asks the board by pySerial at this speed. */
async function askBySerial(address: string, baud: number): Promise<number> {
  const script = [
    "import sys, serial",
    "port = serial.serial_for_url(sys.argv[1], baudrate=int(sys.argv[2]), timeout=30)",
    "port.reset_input_buffer()",
    "port.write(b'print(9 * 123)\\r')",
    "print(port.read_until(b'\\n1107\\r').decode().splitlines()[-1])",
    "port.close()",
  ].join("\n");
  const python = spawn("python3", ["-c", script, address, `${baud}`], {
    env: { ...process.env, PYTHONPATH: partsEnv.PYTHONPATH },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(python, "close");
  const text = Buffer.concat(await bounded(python.stdout.toArray())).toString();
  await bounded(closed);
  return Number(text);
}

/** Asks the board by plain bytes. @returns its output up to the answer */
async function askBySocat(address: string): Promise<string> {
  const socat = spawn(part("socat"), ["-", `TCP:${address}`], {
    env: partsEnv,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const closed = once(socat, "close");
  let text = "";
  const answered = new Promise<void>((resolve) => {
    socat.stdout.on("data", (bytes) => {
      text += bytes.toString("latin1");
      if (text.includes("\n1331\r")) resolve();
    });
  });
  socat.stdin.write("print(1300 + 31)\r");
  await bounded(answered);
  socat.kill();
  await bounded(closed);
  return text;
}

describe("a lease of a MicroPython board", { skip }, () => {
  let server: RunningServer;
  let board: Target;
  let agent: TestAgent;
  const kept = () => readdir(join(runtimeDir, "labgear/leases"));
  /** How often the board has proved itself. */
  let readies = 1;
  const again = () => becomes(agent, "bit-1", "ready", ++readies);
  const lease = (...args: string[]) =>
    Running.start(["lease", "bit", "--server", `127.0.0.1:${server.port}`, ...args]);
  const onTerminal = (...args: string[]) =>
    Running.onTerminal(["lease", "bit-1", "--server", `127.0.0.1:${server.port}`, ...args], { columns: 100 });
  const record = (number: number) => agent.record("lease", number);
  /** The number of the newest lease, which its client is told with its URL. */
  const numberOf = (running: Running) =>
    Number(/\/builds\/lease\/(\d+)/.exec(running.stderr + running.stdout)?.[1]);

  before(async () => {
    server = await startGearmand();
    board = await startMicroPython();
    agent = await TestAgent.start({
      yaml: `
name: box7
devices:
  bit-1:
    classes: [bit]
    ${boardYaml(board, { power: true }).replaceAll(/, (?=boot|power)/g, "\n    ")}
    console: micropython
    lease: { max: 1h }
`,
      ports: [server.port],
    });
    await becomes(agent, "bit-1", "ready");
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await board?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  test("on a terminal: typing, the menu, release; it has a record, a console and a capture", async () => {
    await using running = onTerminal("--reason", "trying it out");
    await running.until("stdout", "Ctrl-] opens the menu");
    running.child.stdin?.write("print(6 * 7)\r");
    await running.until("stdout", /\n42\r/);
    running.child.stdin?.write("\u001d");
    await running.until("stdout", "p power cycle");
    running.child.stdin?.write("p");
    await running.until("stdout", /power cycle[\s\S]*MicroPython v/);
    running.child.stdin?.write("\u001dq");
    assert.equal(await running.ended, 0, running.stdout);
    assert.match(running.stdout, /\[labgear\] lease ended after .*: released/);
    const { result, device, parameters, ending } = await record(1);
    assert.deepEqual({ result, device }, { result: "SUCCESS", device: "bit-1" });
    assert.equal((parameters as { reason: string }).reason, "trying it out");
    assert.deepEqual(ending, { kind: "passed", reason: "released" });
    const console = (await agent.file("lease", 1, "console.log")).toString();
    assert.match(console, /^\[labgear\] bit-1 is held by .*: trying it out\n/);
    assert.match(console, /print\(6 \* 7\)[\s\S]*42/);
    assert.match(console, /\[labgear\] power cycle by the holder/);
    const capture = (await agent.command("log", "lease#1", "--serial")).stdout;
    assert.match(capture, / > .*p/);
    await again();
  });

  test("a command: its port is RFC 2217 on loopback, and its exit code comes back", async () => {
    const script = `
      const [, host, port] = /^rfc2217:\\/\\/(.*):(\\d+)$/.exec(process.env.LABGEAR_PORT);
      const socket = require("net").connect(port, host);
      let text = "";
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
        if (text.includes("\\n4711\\r")) { console.log(process.env.LABGEAR_DEVICE, process.env.LABGEAR_BAUD); process.exit(7); }
      });
      socket.write("print(4700 + 11)\\r\\0");
    `;
    await using running = lease("--", process.execPath, "-e", script);
    assert.equal(await running.ended, 7, running.stderr);
    assert.equal(running.stdout, "bit-1 115200\n");
    assert.match(running.stderr, /lease ended after .*: its command ended with exit code 7/);
    assert.equal((await record(numberOf(running))).result, "SUCCESS");
    await again();
  });

  test("from a network that reaches only the job server: pySerial's client of RFC 2217 sets speed and lines, and talks", {
    skip: lacks("pyserial", "socat") || lacksNamespaces(),
  }, async () => {
    await using folder = await temporaryFolder();
    const socket = join(folder.path, "server");
    const bridge = createServer((near) => {
      const far = connect(server.port, "127.0.0.1");
      for (const side of [near, far]) side.on("error", () => {});
      near.on("close", () => far.destroy()).pipe(far);
      far.on("close", () => near.destroy()).pipe(near);
    }).listen(socket);
    await once(bridge, "listening");
    using _ = { [Symbol.dispose]: () => void bridge.close() };
    const script = [
      "import os, serial",
      "port = serial.serial_for_url(os.environ['LABGEAR_PORT'], baudrate=115200, timeout=30)",
      "port.reset_input_buffer()",
      "port.write(b'print(9 * 123)\\r')",
      "print(port.read_until(b'\\n1107\\r').decode().splitlines()[-1])",
      "port.close()",
    ].join("\n");
    const python = { PYTHONPATH: partsEnv.PYTHONPATH };
    const args = ["lease", "bit", "--server", "127.0.0.1:4730", "--", "python3", "-c", script];
    await using running = Running.isolated(args, { socket, port: 4730 }, python);
    assert.equal(await running.ended, 0, running.stderr);
    assert.match(running.stdout, /1107/);
    await again();
  });

  test("the box says who has a board and why, and its operators take it back", async () => {
    await using running = lease("--reason", "measuring", "--", "sleep", "300");
    await running.until("stderr", "is yours");
    const { stdout } = await agent.command("status");
    assert.match(
      stdout,
      /lease#\d+ running: held by \S+@\S+, until \d{4}-\d\d-\d\d \d\d:\d\d UTC: measuring$/m,
    );
    await using listing = Running.start(["lease", "--list", "--server", `127.0.0.1:${server.port}`]);
    assert.equal(await listing.ended, 0, listing.stderr);
    assert.match(
      listing.stdout,
      /^BOARD +BOX +UNTIL +BY +WHY\nbit-1 +box7 +\d{4}-\d\d-\d\d \d\d:\d\d UTC +\S+@\S+ +measuring\n$/,
    );
    await using second = lease("--queue-timeout", "1s", "--", "true");
    assert.equal(await second.ended, 8, second.stderr);
    assert.match(second.stderr, /no device took it within 1s: giving up/);
    const refused = await agent.command("release", "box7");
    assert.match(refused.stderr, /box7 isn't leased/);
    assert.equal((await agent.command("release", "bit-1")).exitCode, 0);
    assert.equal(await running.ended, 3, running.stderr);
    assert.match(running.stderr, /released by an operator of the box/);
    await again();
  });

  test("another process of the holder extends the lease and releases it", async () => {
    const address = ["--server", `127.0.0.1:${server.port}`];
    const start = (...args: string[]) => Running.start(["lease", ...args]);
    await using running = lease("--for", "1m", "--", "sleep", "300");
    await running.until("stderr", "is yours");
    const [file = "", ...others] = await kept();
    assert.deepEqual(others, []);
    assert.equal((await stat(join(runtimeDir, "labgear/leases", file))).mode & 0o777, 0o600);
    await using other = start("extend", "bit-2", ...address);
    assert.equal(await other.ended, 1);
    assert.equal(other.stderr, "labgear: you hold no lease of bit-2 here\n");
    await using extending = start("extend", "bit-1", "--for", "20m", ...address);
    assert.equal(await extending.ended, 0, extending.stderr);
    assert.match(extending.stdout, /^bit-1 is yours for 2[01]m/);
    await using releasing = start("release", ...address);
    assert.equal(await releasing.ended, 0, releasing.stderr);
    assert.equal(releasing.stdout, "bit-1 is released\n");
    assert.equal(await running.ended, 0, running.stderr);
    assert.match(running.stderr, /lease ended after .*: released/);
    assert.deepEqual(await kept(), []);
    assert.equal((await record(numberOf(running))).result, "SUCCESS");
    await again();
  });

  test("--tcp serves plain bytes; SIGINT ends the lease", async () => {
    await using running = lease("--tcp", "0");
    await running.until("stderr", /is served on \S+:\d+/);
    const port = Number(/is served on \S+:(\d+)/.exec(running.stderr)?.[1]);
    const socat = spawn(part("socat"), ["-", `TCP:127.0.0.1:${port}`], {
      env: partsEnv,
      stdio: ["pipe", "pipe", "inherit"],
    });
    let text = "";
    const answered = new Promise<void>((resolve) => {
      socat.stdout.on("data", (bytes) => {
        text += bytes.toString("latin1");
        if (text.includes("\n1331\r")) resolve();
      });
    });
    socat.stdin.write("print(1300 + 31)\r");
    await bounded(answered);
    const closed = once(socat, "close");
    running.child.kill("SIGINT");
    assert.equal(await running.ended, 3, running.stderr);
    await bounded(closed);
    const { result } = await record(numberOf(running));
    assert.equal(result, "ABORTED");
    await again();
  });

  test("labgear port: a paused board for pySerial and socat, until Ctrl-C or resume; then it is as it was", {
    skip: lacks("pyserial"),
  }, async () => {
    const start = (...args: string[]) =>
      Running.start(["port", "bit-1", ...args, "--control", agent.control]);
    const served = async (running: Running) => {
      await running.until("stderr", /is served on \S+:\d+;/);
      return /is served on (\S+:\d+);/.exec(running.stderr)?.[1] ?? "";
    };
    const refused = await agent.command("port", "bit-1");
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /^labgear: bit-1 is ready: pause it .*\n$/);
    const unknown = await agent.command("port", "bit-2");
    assert.match(unknown.stderr, /^labgear: this box has no device bit-2; its devices: bit-1\n$/);
    assert.equal((await agent.command("pause", "bit-1")).exitCode, 0);
    await becomes(agent, "bit-1", "paused");

    // Only root may open a port that the agent has.
    const readSpeed = () => spawnSync("stty", ["-F", board.tty, "speed"], { encoding: "utf8" });
    const speed = readSpeed();
    await using rfc2217 = start();
    const address = await served(rfc2217);
    assert.match(address, /^rfc2217:\/\/127\.0\.0\.1:/);
    const busy = await agent.command("port", "bit-1");
    assert.match(busy.stderr, /^labgear: bit-1 is in use by labgear port\n$/);
    assert.equal(await askBySerial(address, 9600), 1107);
    // What the first one has set is no matter to the second.
    assert.equal(await askBySerial(address, 19200), 1107);
    rfc2217.child.kill("SIGINT");
    assert.equal(await rfc2217.ended, 0, rfc2217.stderr);
    if (speed.status === 0) assert.equal(readSpeed().stdout, speed.stdout);

    await using tcp = start("--tcp", "0");
    assert.match(await askBySocat(await served(tcp)), /\n1331\r/);
    assert.equal((await agent.command("resume", "bit-1")).exitCode, 0);
    assert.equal(await tcp.ended, 1);
    assert.match(tcp.stderr, /\nlabgear: the port has ended: bit-1 is resumed\n$/);
    await again();
  });

  test("labgear port: a board that the same person has leased, until the lease's end; nobody else's", async () => {
    await using running = lease("--", "sleep", "300");
    await running.until("stderr", "is yours");
    const args = ["port", "bit-1", "--tcp", "0", "--control", agent.control];
    await using folder = await temporaryFolder();
    await using other = Running.start(args, { XDG_RUNTIME_DIR: folder.path });
    assert.equal(await other.ended, 1);
    assert.match(other.stderr, /^labgear: bit-1 is held by \S+@\S+, until .* UTC\n$/);
    await using port = Running.start(args);
    await port.until("stderr", /is served on \S+:\d+;/);
    const [, address = ""] = /is served on (\S+:\d+);/.exec(port.stderr) ?? [];
    assert.match(await askBySocat(address), /\n1331\r/);
    assert.equal((await agent.command("release", "bit-1")).exitCode, 0);
    assert.equal(await port.ended, 1, port.stderr);
    assert.match(port.stderr, /\nlabgear: the port has ended: the lease of bit-1 is over\n$/);
    assert.equal(await running.ended, 3, running.stderr);
    await again();
  });

  test("its time is over: the command is ended, TIMED_OUT", async () => {
    await using running = lease("--for", "2s", "--", "sleep", "300");
    assert.equal(await running.ended, 4, running.stderr);
    const { ending, started, ended } = await record(numberOf(running));
    assert.deepEqual(ending, { kind: "timed-out", reason: "the lease's time is over" });
    assert.ok(Date.parse(`${ended}`) - Date.parse(`${started}`) >= 1990);
    await again();
  });

  test("a client that is killed: the lease ends, and the next one gets the board", async () => {
    await using running = lease("--", "sleep", "300");
    await running.until("stderr", "is yours");
    running.child.kill("SIGKILL");
    await running.ended;
    await using next = lease("--for", "1m", "--", "true");
    assert.equal(await next.ended, 0, next.stderr);
    // The killed one couldn't remove its key.
    assert.deepEqual(await kept(), []);
    const { result, ending } = await record(numberOf(running));
    assert.equal(result, "ABORTED");
    assert.equal((ending as { cause: string }).cause, "client-gone");
    await again();
    await again();
  });
});
