/** The lab as a watcher and `labgear lab` see it: boxes that answer, hang, lie or are gone, and job servers that don't answer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { LabWatch } from "#/lab/watch.ts";
import type { LabView } from "#/lib/lab.ts";
import { Running } from "../cli/running.ts";
import { labgear } from "../support/agent.ts";
import { submitDetached } from "../support/gearman.ts";
import {
  answering,
  agentInfo as info,
  nodeInfo as node,
  saturday,
  startBox,
  startLabServer as startServer,
} from "../support/lab.ts";
import { bounded, startRawServer } from "../support/servers.ts";

/** Looks until the lab is as it should be: a loaded machine may answer late. */
async function until(watch: LabWatch, condition: (view: LabView) => boolean): Promise<LabView> {
  const reached = async () => {
    for (;;) {
      const view = await watch.look();
      if (condition(view)) return view;
      await delay(100);
    }
  };
  return await bounded(reached());
}

/** Runs `labgear lab` until it has heard both boxes' answers, or the lack of them. */
async function labUntil(args: readonly string[], wanted: RegExp): Promise<string> {
  const reached = async () => {
    for (;;) {
      const { stdout } = await labgear(["lab", ...args]);
      if (wanted.test(stdout)) return stdout;
    }
  };
  return await bounded(reached());
}

const areUp = (count: number) => (view: LabView) =>
  view.boxes.filter(({ state }) => state === "up").length === count;

const boxesOf = ({ boxes }: LabView) => boxes.map(({ name, state }) => `${name} ${state}`);

test("boxes that hang, lie or are gone cost the others nothing; what they say is checked", async () => {
  await using server = await startServer();
  const sick = node("mcu-2", {
    ...{ state: "held", cause: "recovering", reason: "login-refused: no", since: saturday },
    outage: { cause: "login-refused", tries: 212 },
  });
  const nodes = [node("mcu-1", { state: "busy", build: { name: "smoke", number: 7 } }), sick];
  await using _well = await startBox(server, "well", answering(info("well", nodes)));
  await using _hangs = await startBox(server, "hangs");
  await using _lies = await startBox(server, "lies", () => '{"version":1,"nodes":"many"}');
  await using _large = await startBox(server, "large", () =>
    JSON.stringify({ version: 1, x: "x".repeat(70_000) }),
  );
  const evil = info("evil", [node("<b>", { since: "yesterday" })], { url: "javascript:alert(1)" });
  await using _evil = await startBox(server, "evil", answering(evil));
  {
    await using _gone = await startBox(server, "gone", answering(info("gone", [])));
  }
  await submitDetached(server, "build:smoke:mcu");
  await submitDetached(server, "build:other:nothing");
  await using watch = new LabWatch([server]);
  const view = await until(watch, areUp(2));
  const known = boxesOf(view)
    .map((box) => box.replace(/ (asked|away)$/, " silent"))
    .filter((box) => !box.startsWith("gone"));
  assert.deepEqual(known.sort(), ["evil up", "hangs silent", "large silent", "lies silent", "well up"]);
  const { boards, classes, queued, running } = view;
  assert.deepEqual(boards[0], {
    ...{ box: "well", name: "mcu-2", classes: ["mcu"], state: "sick", cause: "login-refused", tries: 212 },
    ...{ reason: "login-refused: no", since: saturday, url: "http://well.example:8430/devices/mcu-2" },
  });
  assert.deepEqual(boards[1], { box: "evil", name: "<b>", classes: ["mcu"], state: "free" });
  assert.equal(view.boxes.find(({ name }) => name === "evil")?.url, undefined);
  const { waitingSince: _, ...mcu } = classes.find(({ name }) => name === "mcu") ?? {};
  assert.deepEqual(mcu, { name: "mcu", free: 1, busy: 1, sick: 1, held: 0, waiting: 1 });
  assert.deepEqual(
    queued.map(({ function: name, count, orphan, why }) => ({ name, count, orphan, why })),
    [
      { name: "build:other:nothing", count: 1, orphan: true, why: "no node takes this" },
      { name: "build:smoke:mcu", count: 1, orphan: true, why: "no node takes this" },
    ],
  );
  assert.deepEqual(running, [
    { box: "well", node: "mcu-1", name: "smoke", number: 7, url: "http://well.example:8430/builds/smoke/7" },
  ]);
});

test("a box is asked once at a time and in 5 s for all who look; one that goes away is shown as away", async () => {
  await using server = await startServer();
  let asked = 0;
  const count = () => {
    asked += 1;
    return JSON.stringify(info("well", []));
  };
  const well = await startBox(server, "well", count);
  await using _hangs = await startBox(server, "hangs");
  await using watch = new LabWatch([server]);
  await Promise.all(Array.from({ length: 20 }, () => watch.look()));
  await until(watch, areUp(1));
  assert.ok(asked <= 2, `asked ${asked} times for 20 looks`);
  await well[Symbol.asyncDispose]();
  const { boxes } = await until(watch, (view) => view.boxes.every(({ state }) => state === "away"));
  assert.ok(boxes.find(({ name }) => name === "well")?.seen !== undefined, "it was seen");
  assert.equal(boxes.find(({ name }) => name === "hangs")?.seen, undefined);
});

test("a job server that hangs or is gone doesn't hide the other's boxes", async () => {
  await using server = await startServer();
  await using silent = await startRawServer(() => {});
  await using _well = await startBox(server, "well", answering(info("well", [])));
  const gone = { host: "127.0.0.1", port: 1 };
  await using watch = new LabWatch([silent, gone, server]);
  const view = await until(watch, areUp(1));
  assert.deepEqual(boxesOf(view), ["well up"]);
  assert.match(view.servers[0]?.error ?? "", /it hasn't answered yet|gave no answer/);
  assert.match(view.servers[1]?.error ?? "", /127\.0\.0\.1:1/);
  assert.equal(view.servers[2]?.error, undefined);
});

test("labgear lab: for people, as JSON, on a wall; what a box says can't act on the terminal", async () => {
  await using server = await startServer();
  const reason = "new \u202ecable";
  const paused = node("mcu-1", {
    ...{ state: "held", cause: "paused", reason, since: saturday, classes: ["mcu", "\u2066x"] },
    outage: { cause: "paused", tries: 0, who: "ada" },
  });
  const silent = node("mcu-2", {
    ...{ state: "held", cause: "recovering", reason: "silent: no byte", since: saturday },
    outage: { cause: "silent", tries: 1 },
  });
  await using _well = await startBox(server, "well", answering(info("well", [paused, silent])));
  await using _hangs = await startBox(server, "hangs");
  const at = ["--server", `127.0.0.1:${server.port}`];
  const text = await labUntil(at, /^1 of 2 boxes\n/);
  assert.match(
    text,
    /\nout of order\n {2}hangs +box is away\n {2}mcu-2 \(well\) +silent +for .*1 try; silent: no byte +http:\/\/well/,
  );
  assert.match(text, /mcu-1 +well +paused by ada/);
  assert.doesNotMatch(text, /[\u202e\u2066]/);
  const json = JSON.parse(await labUntil(["--json", ...at], /"mcu-2"/)) as LabView;
  assert.equal(json.boards.length, 2);
  await using wall = Running.start(["lab", "--wall", ...at]);
  await wall.until("stdout", /OUT OF ORDER\n.*mcu-2 \(well\) +silent.*\n\nCLASSES\n/s);
  wall.child.kill("SIGINT");
  assert.equal(await wall.ended, 0);
  const none = await labgear(["lab", "--server", "127.0.0.1:1"]);
  assert.equal(none.exitCode, 7);
  assert.match(none.stdout, /127\.0\.0\.1:1 +job server/);
});
