/** What went over a board's serial line, as its readers have it: the command, the page, the API. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { DemoBoard } from "#/cli/demo/board.ts";
import { JobServer } from "#/gearman/server/server.ts";
import { type CaptureEntry, readCapture } from "#/lib/capture.ts";
import { TestAgent } from "../support/agent.ts";
import { build, resultOf } from "../support/boards.ts";
import { temporaryFolder } from "../support/servers.ts";

const password = "correct-horse-7";

test("the capture of a build: labgear log --serial, download, API; without the password", async () => {
  await using folder = await temporaryFolder();
  await using board = new DemoBoard(password, folder.path);
  await using server = new JobServer();
  const { port } = await server.listen({ port: 0 });
  const passwordFile = join(folder.path, "board-password");
  await writeFile(passwordFile, password);
  await using agent = await TestAgent.start({
    yaml: `
name: box7
jobs:
  on-board: { nodes: [demo], shell: "exit_code=0; printf 'a\\\\tb\\\\303\\\\244\\\\n'" }
  logs-in: { nodes: [demo], steps: [{ send: exit }, { expect: "login:" }] }
  on-host: { run: "true" }
devices:
  board-1:
    classes: [demo]
    port: "tcp://127.0.0.1:${await board.listen()}"
    console: linux
    login: { user: root, password-file: ${passwordFile} }
`,
    ports: [port],
  });
  assert.equal(await resultOf(await build(port, "logs-in:demo", "u-1")), "SUCCESS");
  assert.equal(await resultOf(await build(port, "on-board:demo", "u-2")), "SUCCESS");
  assert.equal(await resultOf(await build(port, "on-host", "u-3")), "SUCCESS");

  const printed = await agent.command("log", "on-board#1", "--serial");
  assert.equal(printed.exitCode, 0, printed.stderr);
  const lines = printed.stdout.trimEnd().split("\n");
  for (const line of lines) assert.match(line, /^\d{4}-\d\d-\d\dT[\d:.]{12}Z [<>#] [ -~]+$/);
  assert.match(printed.stdout, /Z > root\\n\n/, "the build logs in");
  assert.match(printed.stdout, /Z > \[masked\]\\n\n/);
  const received = lines.filter((line) => line.slice(25, 26) === "<").map((line) => line.slice(27));
  assert.match(received.join(""), /root\\r\\nPassword: /, "however it was cut into chunks");
  assert.doesNotMatch(printed.stdout, new RegExp(password));

  const { url } = await agent.logged("the pages are at");
  const get = async (path: string) => {
    const answer = await fetch(`${url}${path}`);
    return { answer, body: Buffer.from(await answer.arrayBuffer()) };
  };
  const file = await agent.file("on-board", 1, "serial.capture");
  const download = await get("/builds/on-board/1/serial");
  assert.deepEqual(download.body, file);
  assert.match(
    `${download.answer.headers.get("content-disposition")}`,
    /attachment; filename="on-board-1.capture"/,
  );
  assert.match((await get("/builds/on-board/1")).body.toString(), /href="\/builds\/on-board\/1\/serial"/);
  assert.doesNotMatch((await get("/builds/on-host/1")).body.toString(), /\/serial"/);

  const api = await get("/api/builds/on-board/1/serial");
  assert.equal(api.answer.headers.get("content-type"), "application/jsonl");
  const records = api.body.toString().trimEnd().split("\n");
  const entries: CaptureEntry[] = [];
  for await (const entry of readCapture(Readable.from([file]))) entries.push(entry);
  assert.deepEqual(
    records
      .map((line) => JSON.parse(line))
      .map(({ at, kind, text, base64 }) => ({
        ...{ at, kind },
        bytes: Buffer.from(text ?? base64, text === undefined ? "base64" : "utf8"),
      })),
    entries.map(({ time, kind, bytes }) => ({ at: time, kind, bytes: Buffer.from(bytes) })),
  );

  const none = await agent.command("log", "on-host", "--serial");
  assert.equal(none.exitCode, 1);
  assert.match(none.stderr, /on-host#1 has no serial capture: only builds on a device have one/);
  assert.equal((await get("/api/builds/on-host/1/serial")).answer.status, 404);
  assert.equal((await get("/builds/on-host/1/serial")).answer.status, 404);
  assert.equal((await agent.command("log", "on-host", "--serial", "-f")).exitCode, 2);
});
