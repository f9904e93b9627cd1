/** Leases through the gate: the holder signs, the gate passes on, and counts the minutes. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { BuildKey } from "#/exchange/key.ts";
import { formatTunnel, parseTunnel, tunnelProtocol } from "#/exchange/tunnel.ts";
import { formatTyping } from "#/exchange/typing.ts";
import { limitReached } from "#/gate/run-limits.ts";
import type { GateRecord } from "#/gate/store.ts";
import { Running } from "../cli/running.ts";
import { becomes, boardYaml } from "../support/boards.ts";
import { bounded } from "../support/servers.ts";
import { startMicroPython } from "../targets/micropython.ts";
import { lacksTarget, type Target } from "../targets/target.ts";
import { GateLab, staticToken } from "./gate-lab.ts";
import { githubPush } from "./issuer.ts";

const skip = lacksTarget("qemuArm", "micropythonMicrobit");

const rules = `
  - when: { token: jenkins }
    allow: { leases: 10m, classes: [bit], minutes-a-day: 60, at-once: 2 }
  - when: { issuer: github, repository_id: 74, event_name: push }
    allow: { leases: 1m }
  - when: { issuer: github, repository_id: 74, event_name: schedule }
    allow: { jobs: ["*"] }
  - when: { issuer: github, repository_id: 74, event_name: release }
    allow: { leases: 1m, classes: [rpi4] }
`;

describe("a lease through the gate", { skip }, () => {
  let board: Target;
  let lab: GateLab;
  let readies = 1;
  const again = () => becomes(lab.agent, "bit-1", "ready", ++readies);
  const token = { LABGEAR_TOKEN: staticToken };
  const start = (args: readonly string[], env: NodeJS.ProcessEnv = token) =>
    Running.start(["lease", ...args], env);
  const atGate = (...args: string[]) => start(["bit", "--gate", lab.url, ...args]);
  const sign = (event: string) => lab.issuer.sign({ ...githubPush, event_name: event });
  const audit = () =>
    readdirSync(join(lab.folder, "state/audit"))
      .flatMap((name) =>
        readFileSync(join(lab.folder, "state/audit", name), "utf8")
          .trim()
          .split("\n"),
      )
      .map((line): Record<string, unknown> => JSON.parse(line));
  const records = () =>
    readdirSync(join(lab.folder, "state/builds")).map(
      (name): GateRecord => JSON.parse(readFileSync(join(lab.folder, "state/builds", name), "utf8")),
    );
  /** Once the gate has settled it. */
  const settled = async (count: number) => {
    await lab.log.until(() => audit().filter(({ event }) => event === "ended").length >= count);
  };

  before(async () => {
    board = await startMicroPython();
    const yaml = `
name: box7
devices:
  bit-1:
    classes: [bit]
    ${boardYaml(board, { power: true }).replaceAll(/, (?=boot|power)/g, "\n    ")}
    console: micropython
    lease: { max: 1h }
`;
    lab = await GateLab.start({ yaml, rules });
    await becomes(lab.agent, "bit-1", "ready");
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
    await board?.[Symbol.asyncDispose]();
  });

  test("a command: its port is on this machine, its exit code comes back, and the audit log has it", async () => {
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
    await using running = atGate("--for", "5m", "--reason", "flashing", "--", process.execPath, "-e", script);
    assert.equal(await running.ended, 7, running.stderr);
    assert.equal(running.stdout, "bit-1 115200\n");
    assert.match(running.stderr, /bit-1 is yours for [45]m/);
    assert.match(running.stderr, /lease ended after .*: its command ended with exit code 7/);
    const { parameters, ending } = await lab.agent.record("lease", 1);
    assert.deepEqual(ending, { kind: "passed", reason: "its command ended with exit code 7" });
    // Who it is, the gate says.
    const { who, reason } = parameters as Record<string, string>;
    assert.deepEqual({ who, reason }, { who: "jenkins through the gate", reason: "flashing" });
    await again();
    const lines = audit().filter(({ job }) => job === "lease");
    assert.deepEqual(
      lines.map(({ event, rule, node, reserved_minutes, result, minutes }) => ({
        ...{ event, rule, node, reserved_minutes, result, isSettled: Number(minutes) >= 1 },
      })),
      [
        { ...{ event: "submitted", rule: 1, node: "bit", reserved_minutes: 5 }, ...nothing },
        {
          ...{ event: "ended", rule: 1, node: "bit", reserved_minutes: undefined },
          result: "SUCCESS",
          isSettled: true,
        },
      ],
    );
    // The gate has no key to type with.
    assert.deepEqual(
      records().map(({ key, lease }) => [key, lease?.reason]),
      [["", "flashing"]],
    );
  });

  test("the console on a terminal: what is typed, and as much time as the rule allows", async () => {
    await using running = Running.onTerminal(["lease", "bit-1", "--gate", lab.url, "--for", "2m"], {
      columns: 100,
      env: token,
    });
    await running.until("stdout", "Ctrl-] opens the menu");
    running.child.stdin?.write("print(6 * 7)\r");
    await running.until("stdout", /\n42\r/);
    running.child.stdin?.write("\u001de");
    await running.until("stdout", "extending");
    // The lab would give an hour, the rule gives ten minutes.
    const left = /\[labgear\] (\S+.*) left\r/g;
    for (let asked = 1; !/^(10|[5-9])m/.test([...running.stdout.matchAll(left)].at(-1)?.[1] ?? ""); asked++) {
      running.child.stdin?.write("\u001dt");
      await running.until("stdout", new RegExp(`(?:${left.source}[^]*){${asked}}`));
    }
    assert.ok(audit().some(({ event }) => event === "extended"));
    running.child.stdin?.write("\u001dq");
    assert.equal(await running.ended, 0, running.stdout);
    assert.ok(records().some(({ reservedMinutes }) => reservedMinutes === 10));
    await again();
  });

  test("other processes of the holder: they list, extend and release it; others see only that it is leased", async () => {
    await using running = atGate("--for", "5m", "--reason", "measuring", "--", "sleep", "300");
    await running.until("stderr", "is yours");
    await using own = start(["--list", "--gate", lab.url]);
    assert.equal(await own.ended, 0, own.stderr);
    assert.match(
      own.stdout,
      /\nbit-1 +box7 +\d{4}-\d\d-\d\d \d\d:\d\d UTC +jenkins through the gate +measuring\n$/,
    );
    await using other = start(["--list", "--gate", lab.url], { LABGEAR_TOKEN: await sign("push") });
    assert.equal(await other.ended, 0, other.stderr);
    assert.match(other.stdout, /\nbit-1 +box7 +\d{4}-\d\d-\d\d \d\d:\d\d UTC *\n$/);
    await using strange = start(["--list", "--gate", lab.url], { LABGEAR_TOKEN: await sign("schedule") });
    assert.equal(await strange.ended, 2, strange.stderr);
    // Neither needs a token: the lease's own key is kept here.
    await using extending = start(["extend", "bit-1", "--for", "3m"], {});
    assert.equal(await extending.ended, 0, extending.stderr);
    assert.match(extending.stdout, /^bit-1 is yours for [678]m/);
    await using releasing = start(["release"], {});
    assert.equal(await releasing.ended, 0, releasing.stderr);
    assert.equal(await running.ended, 0, running.stderr);
    assert.match(running.stderr, /lease ended after .*: released/);
    await again();
  });

  test("the gate starts anew in between: the board stays the holder's", async () => {
    await using running = Running.onTerminal(["lease", "bit", "--gate", lab.url], {
      columns: 100,
      env: token,
    });
    await running.until("stdout", "Ctrl-] opens the menu");
    running.child.stdin?.write("n = 17\r");
    await running.until("stdout", "n = 17");
    const { port } = lab.gate.address;
    const file = join(lab.folder, "gate.yaml");
    await lab.restart(async () =>
      writeFileSync(
        file,
        readFileSync(file, "utf8").replace("listen: 127.0.0.1:0", `listen: 127.0.0.1:${port}`),
      ),
    );
    await running.until("stdout", "the board is still yours");
    running.child.stdin?.write("print(n * 1000)\r");
    await running.until("stdout", /\n17000\r/);
    running.child.stdin?.write("\u001dq");
    assert.equal(await running.ended, 0, running.stdout);
    assert.match(running.stdout, /lease ended after .*: released/);
    await again();
    await settled(4);
    const ended = audit().findLast(({ event }) => event === "ended");
    assert.deepEqual([ended?.job, ended?.result], ["lease", "SUCCESS"]);
    assert.ok(Number(ended?.minutes) >= 1);
  });

  test("what isn't the holder's gets nowhere", async () => {
    const own = BuildKey.generate();
    const build = await lab.submit(staticToken, {
      ...{ job: "lease", node: "bit" },
      lease: { for: 60, reason: "mine", key: own.publicKey },
    });
    assert.equal(build.status, 201, JSON.stringify(build));
    const events = await lab.request(`/v1/builds/${build.uuid}/events`, build.key);
    const plain = await lab.request(`/v1/builds/${build.uuid}/lease`, build.key);
    assert.deepEqual([events.status, plain.status], [409, 426]);
    const refusedStatus = await new Promise((resolve) => {
      const socket = open(build.uuid, staticToken);
      socket.on("unexpected-response", (_, response) => resolve(response.statusCode)).on("error", () => {});
    });
    assert.equal(refusedStatus, 404);
    const socket = open(build.uuid, build.key);
    const messages: Record<string, unknown>[] = [];
    const changed = Promise.withResolvers<{ session: string; number: number }>();
    const answers = new Map<number, (answer: unknown) => void>();
    let number = 0;
    let alive: NodeJS.Timeout | undefined;
    socket.on("message", (message) => {
      const { object, bytes } = parseTunnel(message as Buffer);
      messages.push(object);
      const data = (object.data ?? {}) as { number?: number; lease?: { session: string; left?: number } };
      number = data.number ?? number;
      // Without a sign of life for 10 s the lease would end.
      if (data.lease) {
        const { session } = data.lease;
        alive ??= setInterval(() => {
          const facts = { number, session, sequence: 0, time: Date.now() };
          socket.send(formatTunnel({ call: 1000, function: "type" }, formatTyping(own, facts)), {
            binary: true,
          });
        }, 1000);
      }
      if (data.lease?.left !== undefined) changed.resolve({ session: data.lease.session, number });
      if (typeof object.answer === "number") answers.get(object.answer)?.(JSON.parse(bytes.toString()));
    });
    const { session } = await bounded(changed.promise);
    const call = (id: number, bytes: Buffer, name = "type") =>
      new Promise<{ error?: string }>((resolve) => {
        answers.set(id, resolve as (answer: unknown) => void);
        socket.send(formatTunnel({ call: id, function: name }, bytes), { binary: true });
      });
    const facts = { number, session, sequence: 1, time: Date.now() };
    const burst = { sent: 1, operations: [{ at: 1, op: "write", data: "eA==" } as const] };
    const forged = await bounded(call(1, formatTyping(BuildKey.generate(), facts, burst)));
    assert.equal(forged.error, "signature");
    const otherLease = await bounded(call(2, formatTyping(own, { ...facts, number: number + 1 }, burst)));
    assert.equal(otherLease.error, "unsigned");
    const unsigned = await bounded(call(3, Buffer.from('{"device":"bit-1"}'), "console"));
    assert.equal(unsigned.error, "unsigned");
    const elsewhere = Buffer.from('{"name":"lease","number":1,"path":"record"}');
    assert.equal((await bounded(call(4, elsewhere, "fetch"))).error, "unsigned");
    assert.equal((await bounded(call(5, formatTyping(own, facts, burst)))).error, undefined);
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.send(formatTunnel({ call: 6, function: "stop" }), { binary: true });
    clearInterval(alive);
    await bounded(closed);
    await lab.request(`/v1/builds/${build.uuid}`, build.key, { method: "DELETE" });
    await again();
    await settled(5);
    assert.equal((await lab.status(build)).result, "ABORTED");
  });

  test("what no rule allows", async () => {
    const lease = { for: 60, reason: "x", key: BuildKey.generate().publicKey };
    const refused: [token: string, request: object, status: number, message: RegExp][] = [
      [await sign("schedule"), { job: "lease", node: "bit", lease }, 403, /leases aren't allowed/],
      [await sign("release"), { job: "lease", node: "bit", lease }, 403, /the node bit isn't allowed/],
      [await sign("push"), { job: "lease", lease }, 403, /a class of devices has to be named/],
      [await sign("push"), { job: "lease", node: "rpi4", lease }, 503, /no device rpi4 can be leased now/],
      [await sign("push"), { job: "lease", node: "bit" }, 400, /the job lease needs lease/],
      [
        await sign("push"),
        { job: "lease", node: "bit", lease: { ...lease, key: "x" } },
        400,
        /no public key/,
      ],
      [await sign("push"), { job: "passes", lease }, 400, /no other job has it/],
      [staticToken, { job: "passes" }, 403, /the job passes isn't allowed/],
    ];
    for (const [by, request, status, message] of refused) {
      const answer = await lab.submit(by, request);
      assert.equal(answer.status, status, JSON.stringify([request, answer]));
      assert.match(String((answer as { message?: string }).message), message);
    }
    await using absent = start(["rpi4", "--gate", lab.url], { LABGEAR_TOKEN: await sign("push") });
    assert.equal(await absent.ended, 6, absent.stderr);
    await using forbidden = start(["bit", "--gate", lab.url], { LABGEAR_TOKEN: await sign("release") });
    assert.equal(await forbidden.ended, 2, forbidden.stderr);
    assert.match(forbidden.stderr, /the node bit isn't allowed/);
  });

  function open(uuid: string, key: string): WebSocket {
    const address = `${lab.url.replace("http", "ws")}/v1/builds/${uuid}/lease`;
    return new WebSocket(address, tunnelProtocol, { headers: { authorization: `Bearer ${key}` } });
  }
});

const nothing = { result: undefined, isSettled: false };

test("a lease's time begins with the board, and the gate ends what the agent would let go on", () => {
  const record = {
    ...{ created: 0, queueUntil: 100, started: 10, runMs: 60_000, clientTimeoutMs: 1_000_000 },
    lease: { publicKey: "", reason: "", who: "" },
  } as unknown as GateRecord & { lease: { begun?: number } };
  assert.equal(limitReached(record, 500_000, 0), undefined);
  record.lease.begun = 400_000;
  assert.equal(limitReached(record, 462_000, 0), undefined);
  assert.equal(limitReached(record, 464_000, 0)?.cause, "run");
});
