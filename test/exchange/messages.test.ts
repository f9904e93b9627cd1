/** What a client writes the agent reads, and the other way round; whatever else comes is one refusal, in bounded time. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { ExchangeError } from "#/exchange/errors.ts";
import {
  formatArtifacts,
  formatFetch,
  formatFetched,
  parseArtifacts,
  parseFetch,
  parseFetched,
} from "#/exchange/fetch.ts";
import { exchangeFunctions, parseExchangeFunction } from "#/exchange/functions.ts";
import { type AgentInfo, formatInfo, parseInfo } from "#/exchange/info.ts";
import {
  type AnnouncedInput,
  formatInputs,
  inputVariable,
  parseClientTimeout,
  parseInputs,
  parseWants,
} from "#/exchange/inputs.ts";
import { BuildKey, clockToleranceMs, parsePublicKey, verifySignature } from "#/exchange/key.ts";
import { dataObject, errorAnswer, maxLineBytes, maxPieceBytes, parseObject } from "#/exchange/message.ts";
import { formatPiece, formatReceived, formatSignOfLife, parsePiece, parseReceived } from "#/exchange/send.ts";
import { seeded, seededBytes } from "../support/random.ts";
import { scale } from "../support/scale.ts";

const digest = "a".repeat(64);
const now = 1_780_000_000_000;

const codeOf = (code: string) => (error: unknown) => error instanceof ExchangeError && error.code === code;
const malformed = codeOf("malformed");

test("a piece comes back as it was sent, and its signature holds", () => {
  const key = BuildKey.generate();
  const publicKey = parsePublicKey(key.publicKey);
  for (const length of [1, 10, maxPieceBytes]) {
    const bytes = Buffer.alloc(length, "\n{");
    const piece = parsePiece(formatPiece(key, { uuid: "u-1", name: "app", offset: 7, bytes }, now));
    assert.deepEqual([piece.uuid, piece.name, piece.offset], ["u-1", "app", 7]);
    assert.ok(piece.bytes.equals(bytes));
    verifySignature(piece.signed, piece.signature, publicKey, now + 1000);
  }
  const life = parsePiece(formatSignOfLife(key, "u-1", now));
  assert.deepEqual([life.name, life.bytes.length], [undefined, 0]);
  verifySignature(life.signed, life.signature, publicKey, now);
});

test("a signature is of one key, build, operation, thing, place and time", () => {
  const key = BuildKey.generate();
  const publicKey = parsePublicKey(key.publicKey);
  const signed = {
    ...{ operation: "send" as const, build: { uuid: "u" }, what: "app" },
    ...{ offset: 0, length: 5, time: now },
  };
  const signature = key.sign(signed);
  const verify = (change: object, by = signature, at = now, of = publicKey) =>
    verifySignature({ ...signed, ...change }, by, of, at);
  verify({});
  const others = [
    { operation: "fetch" },
    { build: { uuid: "v" } },
    { what: "app2" },
    { offset: 1 },
    { length: 6 },
    { time: now + 1 },
  ];
  for (const change of others)
    assert.throws(() => verify(change), codeOf("signature"), JSON.stringify(change));
  const other = parsePublicKey(BuildKey.generate().publicKey);
  assert.throws(() => verify({}, signature, now, other), codeOf("signature"));
  assert.throws(() => verify({}, `${signature}=`), codeOf("signature"));
  assert.throws(() => verify({}, ""), codeOf("signature"));
  assert.throws(() => verifySignature(signed, undefined, publicKey, now), codeOf("unsigned"));
  assert.throws(() => verifySignature(signed, signature, undefined, now), codeOf("unsigned"));
  for (const by of [-1, 1]) {
    verify({}, signature, now + by * clockToleranceMs);
    const late = now + by * (clockToleranceMs + 1);
    assert.throws(
      () => verify({}, signature, late),
      (error: ExchangeError) => error.code === "clock" && error.facts.time === late,
    );
  }
});

test("a key survives its export, and nothing else is one", () => {
  const key = BuildKey.generate();
  assert.match(key.publicKey, /^[\w-]{43}$/);
  assert.equal(BuildKey.import(key.export()).publicKey, key.publicKey);
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
    type: "pkcs8",
    format: "pem",
  });
  for (const text of ["", "no key", `${other}`]) assert.throws(() => BuildKey.import(text), malformed);
  for (const text of ["", "x", `${key.publicKey}=`, ` ${key.publicKey}`, "A".repeat(44), "-".repeat(10_000)])
    assert.throws(() => parsePublicKey(text), malformed, text.slice(0, 50));
});

test("pieces that aren't sound are refused, each with its reason", () => {
  const piece = (object: object, bytes = "abc") => Buffer.from(`${JSON.stringify(object)}\n${bytes}`);
  const good = { uuid: "u", name: "app", offset: 0, length: 3, time: now, signature: "s" };
  assert.equal(parsePiece(piece(good)).name, "app");
  assert.equal(parsePiece(piece({ ...good, offset: 7, length: 0 }, "")).offset, 7);
  const bad: [object, string?][] = [
    [{ ...good, name: "../app" }],
    [{ ...good, name: "App" }],
    [{ ...good, name: "a".repeat(65) }],
    [{ ...good, name: 7 }],
    [{ ...good, name: null }],
    [{ ...good, uuid: "a b" }],
    [{ ...good, uuid: undefined }],
    [{ ...good, uuid: undefined, name: "app", number: 1 }],
    [{ ...good, offset: -1 }],
    [{ ...good, offset: 1.5 }],
    [{ ...good, offset: 2 ** 53 }],
    [{ ...good, offset: "0" }],
    [{ ...good, length: 2 }],
    [{ ...good, length: 0 }],
    [{ ...good, signature: 1 }],
    [{ ...good, more: 1 }],
    [{ uuid: "u", time: 1, signature: "s" }],
    [{ uuid: "u", offset: 1 }, ""],
  ];
  for (const [object, bytes] of bad)
    assert.throws(() => parsePiece(piece(object, bytes)), malformed, JSON.stringify(object));
  for (const text of ["", "\n", "{}", "[]\n", "null\n", `{"a":"${"x".repeat(maxLineBytes)}"}\n`, "\xff\n"])
    assert.throws(() => parsePiece(Buffer.from(text, "latin1")), malformed, text.slice(0, 50));
  const long = Buffer.alloc(maxPieceBytes + 1);
  const over = Buffer.concat([piece({ ...good, length: long.length }, ""), long]);
  assert.throws(() => parsePiece(over), malformed);
});

test("answers come back, and so do refusals with what the client goes on with", () => {
  assert.equal(parseReceived(formatReceived(12)), 12);
  const refusal = errorAnswer(new ExchangeError("offset", "it goes on elsewhere", { offset: 5 }));
  const isRefusal = (error: ExchangeError) => error.code === "offset" && error.facts.offset === 5;
  assert.throws(() => parseReceived(refusal), isRefusal);
  assert.throws(() => parseFetched(refusal), isRefusal);
  assert.throws(() => parseInfo(refusal), isRefusal);
  assert.throws(() => parseReceived(Buffer.from('{"error":"invented-later"}')), codeOf("unavailable"));
  assert.throws(() => parseReceived(Buffer.from('{"received":"1"}')), malformed);
});

test("a range is asked for and answered", () => {
  const key = BuildKey.generate();
  const wanted = { path: "artifacts/a/b.bin", offset: 5, length: 10 };
  for (const build of [{ uuid: "u" }, { name: "job", number: 3 }]) {
    const plain = parseFetch(formatFetch({ build, ...wanted }));
    assert.deepEqual([plain.build, plain.path, plain.offset, plain.length], [build, wanted.path, 5, 10]);
    assert.equal(plain.signature, undefined);
    const signed = parseFetch(formatFetch({ build, ...wanted }, { key, time: now }));
    verifySignature(signed.signed, signed.signature, parsePublicKey(key.publicKey), now);
  }
  const whole = parseFetch(Buffer.from('{"uuid":"u","path":"console"}'));
  assert.deepEqual([whole.offset, whole.length], [0, maxPieceBytes]);
  for (const change of [
    { path: "" },
    { path: "a\nb" },
    { path: "x".repeat(5000) },
    { length: 0 },
    { length: maxPieceBytes + 1 },
    { offset: -1 },
    { uuid: "u", name: "job", number: 1 },
    { number: 0, uuid: undefined, name: "job" },
    { lenght: 1 },
  ]) {
    const text = JSON.stringify({ uuid: "u", path: "console", ...change });
    assert.throws(() => parseFetch(Buffer.from(text)), malformed, text);
  }
  const bytes = Buffer.from("\n{}\n");
  const answer = { size: 9, offset: 5, end: true, sha256: digest, bytes };
  assert.deepEqual(parseFetched(formatFetched(answer)), answer);
  for (const change of [{ size: 8 }, { size: 10 }, { sha256: "x" }, { offset: -1 }])
    assert.throws(() => parseFetched(formatFetched({ ...answer, ...change })), malformed);
});

test("the list of artifacts comes back; a path that leads out is refused", () => {
  const list = [
    { path: "a/b c.bin", size: 0, sha256: digest, type: "application/octet-stream" },
    { path: "…", size: 3, type: "text/plain", stale: true as const },
  ];
  assert.deepEqual(parseArtifacts(formatArtifacts(list)), list);
  for (const path of ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".", "a\nb", "a/./b"])
    assert.throws(() => parseArtifacts(formatArtifacts([{ path, size: 1, type: "x" }])), malformed, path);
});

test("inputs are announced by the list, by pairs of parameters, or by both", () => {
  const sent: AnnouncedInput = { name: "app", size: 3, sha256: digest };
  const linked: AnnouncedInput = { name: "root_fs", sha256: digest, url: "https://x.example/y" };
  const parameters = new Map([
    ["LABGEAR_INPUTS", formatInputs([sent])],
    ["LABGEAR_INPUT_ROOT_FS_URL", linked.url ?? ""],
    ["LABGEAR_INPUT_ROOT_FS_SHA256", digest],
  ]);
  assert.deepEqual(parseInputs(parameters), [sent, linked]);
  assert.equal(inputVariable("root_fs"), "LABGEAR_INPUT_ROOT_FS");
  assert.deepEqual(parseInputs(new Map()), []);
  const bad: [string, string][] = [
    ["LABGEAR_INPUTS", "{}"],
    ["LABGEAR_INPUTS", "nonsense"],
    ["LABGEAR_INPUTS", "[1]"],
    ["LABGEAR_INPUTS", JSON.stringify([sent, sent])],
    ["LABGEAR_INPUTS", JSON.stringify([{ ...sent, name: "../../x" }])],
    ["LABGEAR_INPUTS", JSON.stringify([{ ...sent, size: -1 }])],
    ["LABGEAR_INPUTS", JSON.stringify([{ ...sent, sha256: digest.toUpperCase() }])],
    ["LABGEAR_INPUTS", JSON.stringify([{ ...sent, size: undefined }])],
    ["LABGEAR_INPUTS", JSON.stringify([{ ...sent, path: "/etc/shadow" }])],
    ["LABGEAR_INPUTS", JSON.stringify(Array.from({ length: 65 }, (_, n) => ({ ...sent, name: `a${n}` })))],
    ["LABGEAR_INPUTS", `[${" ".repeat(300_000)}]`],
    ["LABGEAR_INPUT_APP_URL", "https://x.example/"],
    ["LABGEAR_INPUT_APP_SHA256", digest],
  ];
  for (const [name, value] of bad)
    assert.throws(() => parseInputs(new Map([[name, value]])), malformed, value.slice(0, 100));
});

test("what lacks is read from the data, and only from data that says so", () => {
  const wants = [{ name: "app", offset: 12 }];
  assert.deepEqual(parseWants({ name: "job", wants, time: now }), { wants, time: now });
  assert.equal(parseWants({ name: "job" }), undefined);
  for (const data of [
    { wants },
    { wants: {}, time: 1 },
    { wants: [null], time: 1 },
    { wants: [{ name: "/", offset: 0 }], time: 1 },
  ])
    assert.throws(() => parseWants(data), malformed);
});

test("data that is no object says nothing", () => {
  assert.deepEqual(dataObject(Buffer.from('{"left": 1}')), { left: 1 });
  for (const text of ["", "{", "[1]", "null", '"x"']) assert.deepEqual(dataObject(Buffer.from(text)), {});
});

test("a client timeout is a number of seconds", () => {
  assert.equal(parseClientTimeout("60"), 60_000);
  for (const off of [undefined, "", "0"]) assert.equal(parseClientTimeout(off), undefined);
  for (const bad of ["1", "60s", "-60", "6e1", "1000000", " 60", "60.5"])
    assert.throws(() => parseClientTimeout(bad), malformed, bad);
});

test("the names of the functions", () => {
  assert.deepEqual([...exchangeFunctions("rack7")], ["send:rack7", "fetch:rack7", "info:rack7"]);
  assert.equal(parseExchangeFunction("fetch:rack7"), "fetch");
  for (const name of ["stop:rack7", "send", "send:", "send:a:b", ":rack7"])
    assert.equal(parseExchangeFunction(name), undefined);
});

const job = {
  ...{ name: "smoke", nodes: ["esp32"], trust: "lab" as const, checkout: false, debug: false },
  ...{ timeoutSeconds: 60, inputs: [{ name: "app", max: 1024, optional: false, url: false }] },
};
const info: AgentInfo = {
  ...{ version: 1, manager: "rack7", program: "labgear", programVersion: "0.1.0", hostname: "rack7" },
  ...{ url: "http://rack7:8430", state: "running", since: "2026-01-01T00:00:00.000Z", time: now },
  nodes: [
    { name: "rack7", classes: ["x86-64"], device: false, state: "free" },
    {
      ...{ name: "esp32-a", classes: ["esp32"], device: true, state: "held", cause: "quarantined" },
      ...{ reason: "it failed its probe", since: "2026-01-01T00:00:00.000Z" },
    },
  ],
  jobs: [job],
  counts: { nodes: 2, jobs: 1, executors: 3, running: 0, waiting: 0 },
};

test("what an agent is comes back, and never takes more than 64 KiB", () => {
  assert.deepEqual(parseInfo(formatInfo(info)), info);
  const jobs = Array.from({ length: 5000 }, (_, n) => ({ ...job, name: `job-${n}` }));
  const nodes = Array.from({ length: 100 }, (_, n) => ({ ...info.nodes[0], name: `n${n}` }) as never);
  const bytes = formatInfo({ ...info, jobs, nodes, counts: { ...info.counts, jobs: 5000, nodes: 100 } });
  assert.ok(bytes.length <= 64 * 1024);
  const read = parseInfo(bytes);
  assert.equal(read.nodes.length, 100);
  assert.ok(read.jobs.length > 10 && read.counts.jobs === 5000);
  for (const change of [{ version: 2 }, { nodes: [{}] }, { jobs: "none" }, { counts: {} }, { time: -1 }])
    assert.throws(() => parseInfo(Buffer.from(JSON.stringify({ ...info, ...change }))), malformed);
});

test("whatever comes, a parser answers with a value or a refusal", () => {
  const random = seeded(15);
  const key = BuildKey.generate();
  const bytes = Buffer.from("some bytes");
  const build = { uuid: "u" };
  const range = { build, path: "console", offset: 0, length: 5 };
  const good = [
    formatPiece(key, { uuid: "u", name: "app", offset: 0, bytes }, now),
    formatSignOfLife(key, "u", now),
    formatFetch(range, { key, time: now }),
    formatFetched({ size: 10, offset: 0, end: true, bytes }),
    formatArtifacts([{ path: "a/b", size: 1, type: "text/plain" }]),
    formatInfo(info),
    formatReceived(5),
    Buffer.from(formatInputs([{ name: "app", size: 3, sha256: digest }])),
  ];
  const parsers: ((message: Buffer) => unknown)[] = [
    parsePiece,
    parseFetch,
    parseFetched,
    parseArtifacts,
    parseInfo,
    parseReceived,
    (message) => parseInputs(new Map([["LABGEAR_INPUTS", message.toString()]])),
    (message) => parseWants(parseObject(message)),
    (message) => parsePublicKey(message.toString()),
  ];
  for (let round = 0; round < scale(500, 50_000); round++) {
    const message = Buffer.from(good[random(good.length)] ?? "");
    for (let change = random(4); change >= 0; change--) {
      const at = random(message.length);
      seededBytes(random, random(4)).copy(message, at);
    }
    const cut = random(4) === 0 ? message.subarray(0, random(message.length)) : message;
    for (const parse of parsers) {
      try {
        parse(cut);
      } catch (error) {
        assert.ok(error instanceof ExchangeError, `${error} for ${JSON.stringify(cut.toString("latin1"))}`);
      }
    }
  }
});
