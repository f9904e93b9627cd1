/** Inputs from a URL: loaded with the real curl from a real server, and from nowhere but where the job says. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BuildError } from "#/builds/errors.ts";
import { InputCache } from "#/builds/inputs/cache.ts";
import { checkUrl, download, isSpecial, type Origin } from "#/builds/inputs/download.ts";
import { type OpenTrees, openTrees } from "#/runners/trees/trees.ts";
import { sha256 } from "../support/exchange.ts";
import { lacks } from "../support/parts.ts";
import { temporaryFolder } from "../support/servers.ts";

const skip = lacks("curl");
const file = randomBytes(700_000);
const stray = new AsyncDisposableStack();
let trees: OpenTrees;
let base: string;
let other: string;
let cache: InputCache;
let folder: string;

const answers: Record<string, RequestListener> = {
  "/files/app": (_, response) => void response.end(file),
  "/files/chunked": (_, response) => {
    response.write(file.subarray(0, 1000));
    response.end(file.subarray(1000));
  },
  "/files/moved": (_, response) => void response.writeHead(302, { location: "/files/app" }).end("moved"),
  "/files/out": (_, response) => void response.writeHead(302, { location: "/secret" }).end(),
  "/files/away": (_, response) => void response.writeHead(301, { location: `${other}/files/app` }).end(),
  "/files/loop": (_, response) => void response.writeHead(302, { location: "/files/loop" }).end(),
  "/files/broken": (_, response) => {
    response.writeHead(200, { "content-length": "1000" }).write("x");
    response.destroy();
  },
  "/files/trouble": (_, response) => void response.writeHead(503).end("later"),
};

async function serve(): Promise<string> {
  const server = createServer((request, response) => {
    const answer = answers[request.url ?? ""];
    if (answer) answer(request, response);
    else response.writeHead(404).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stray.defer(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

before(async () => {
  if (skip) return;
  folder = stray.use(await temporaryFolder()).path;
  trees = stray.use(await openTrees({ id: folder }));
  [base, other] = [await serve(), await serve()];
  cache = await InputCache.open(join(folder, "inputs"), () => 2 ** 30);
});
after(() => stray.disposeAsync());

const origin = (change: Partial<Origin> = {}): Origin => ({
  ...{ from: [`${base}/files/`], networks: ["127.0.0.0/8"], maxBytes: 1_000_000 },
  ...change,
});

async function load(path: string, change: Partial<Origin> = {}, digest = sha256(file)) {
  const transfer = cache.transfer(digest, undefined, "job lab", path);
  transfer.join("b#1");
  const said: string[] = [];
  const log = async (line: string) => void said.push(line);
  const { signal } = new AbortController();
  try {
    await download(
      { origin: origin(change), url: new URL(path, base).href, transfer, sender: "b#1" },
      { trees, folder: cache.downloadsFolder, log, signal },
    );
    await transfer.over;
  } finally {
    await transfer.leave("b#1");
  }
  return { state: transfer.state, said };
}

const fails = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof BuildError && error.code === code && message.test(error.message);

test("a file is loaded whole, through redirects, and kept by its digest", { skip }, async () => {
  for (const path of ["/files/app", "/files/chunked", "/files/moved"])
    assert.equal((await load(path)).state, "sound", path);
  assert.ok((await readFile(join(folder, "inputs", "kept", sha256(file)))).equals(file));
  assert.equal(
    (await load("/files/app?sig=1", {}, "0".repeat(64)).catch(() => ({ state: "gone" }))).state,
    "gone",
  );
  assert.equal((await load("/files/app", {}, "0".repeat(64))).state, "wrong");
  assert.deepEqual(await readdir(join(folder, "inputs", "downloads")), []);
  assert.deepEqual(await readdir(join(folder, "inputs", "partial")), []);
});

test("nothing comes from elsewhere, also not by a redirect", { skip }, async () => {
  for (const path of ["/secret", "/files/../secret", "/files/out", "/files/away", `${other}/files/app`])
    await assert.rejects(load(path), fails("INPUT", /isn't below an address/), path);
  await assert.rejects(load("/files/loop"), fails("INPUT", /redirects more than 5 times/));
  await assert.rejects(load("/files/app", { networks: [] }), fails("INPUT", /private address 127\.0\.0\.1/));
});

test("who is at fault: the client for what isn't there or is too large, the source for what fails", {
  skip,
}, async () => {
  await assert.rejects(load("/files/none"), fails("INPUT", /HTTP 404/));
  await assert.rejects(load("/files/app", { maxBytes: 1000 }), fails("INPUT", /more than the 1000B/));
  await assert.rejects(load("/files/chunked", { maxBytes: 1000 }), fails("INPUT", /more than the 1000B/));
  await assert.rejects(load("/files/trouble"), fails("INPUT_SOURCE", /HTTP 503/));
  await assert.rejects(load("/files/broken"), fails("INPUT_SOURCE", /can't be loaded/));
  const from = ["http://127.0.0.1:9/"];
  const closed = { from, networks: ["127.0.0.0/8"], maxBytes: 10 };
  await assert.rejects(load("http://127.0.0.1:9/x", closed), fails("INPUT_SOURCE", /can't be loaded/));
  assert.deepEqual(await readdir(join(folder, "inputs", "downloads")), []);
});

test("what is below an address", () => {
  const from = ["https://a.example/x/", "https://a.example/file"];
  const allowed = (url: string) => {
    try {
      return checkUrl(url, { from }).href !== "";
    } catch {
      return false;
    }
  };
  for (const url of ["https://a.example/x/y", "https://A.example:443/x/y?q=1", "https://a.example/file"])
    assert.ok(allowed(url), url);
  for (const url of [
    "https://a.example/xy",
    "https://a.example/x/../y",
    "https://a.example/x/%2e%2e/y",
    "https://a.example/x/..%2fy",
    "https://a.example/x/..\\..\\y",
    "https://a.example/x%2fy",
    "http://a.example/x/y",
    "https://a.example:8443/x/y",
    "https://a.example.evil/x/y",
    "https://a.example@evil/x/y",
    "https://u:p@a.example/x/y",
    "https://evil/https://a.example/x/",
    "file:///x/y",
    "ftp://a.example/x/y",
    "//a.example/x/y",
    "",
  ])
    assert.ok(!allowed(url), url);
});

test("a private address is one in every spelling, and behind a translator", () => {
  const refused = [
    ...["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "::1", "::", "fe80::1", "fd00::1"],
    ...["::ffff:127.0.0.1", "::ffff:a00:1", "64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"],
    ...["64:ff9b::", "64:ff9b:0:0::10.0.0.1", "64:ff9b:1::1", "64:ff9b:1:ffff::5db8:d822"],
  ];
  for (const address of refused) assert.ok(isSpecial(address), address);
  const open = ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::93.184.216.34", "64:ff9b::5db8:d822"];
  for (const address of open) assert.ok(!isSpecial(address), address);
});
