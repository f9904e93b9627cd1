/**
 * Every decoder of bytes from outside, as a function that throws only for a fault of ours: a decoder may refuse anything with an
 * error of its own, and what it takes may not depend on how the bytes were cut into chunks.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SectionReader } from "#/builds/console/sections.ts";
import { JunitReader } from "#/builds/junit-reader.ts";
import { recordFile, recordReader } from "#/builds/record.ts";
import { loadConfig } from "#/config/load.ts";
import { type Answer, AnswerReader } from "#/devices/consoles/linux/framing.ts";
import { PlainText } from "#/devices/consoles/plain-text.ts";
import { Rfc2217Server } from "#/devices/port/rfc2217-server.ts";
import { type TelnetEvent, TelnetParser } from "#/devices/port/telnet.ts";
import { parseConsolePiece, parseConsoleRequest } from "#/exchange/console.ts";
import { parseArtifacts, parseFetch, parseFetched } from "#/exchange/fetch.ts";
import { parseInfo } from "#/exchange/info.ts";
import { parseInputs, parseWants } from "#/exchange/inputs.ts";
import { parsePublicKey } from "#/exchange/key.ts";
import { parseLeaseEvent, parseLeaseTerms } from "#/exchange/lease.ts";
import { dataObject } from "#/exchange/message.ts";
import { parsePiece, parseReceived } from "#/exchange/send.ts";
import { parseBurst, parseOrders, parseTyped, parseTyping } from "#/exchange/typing.ts";
import { Callers } from "#/gate/callers.ts";
import { loadGateConfig } from "#/gate/config.ts";
import { parseBuildRequest } from "#/gate/request.ts";
import { claimsOf, decide, type Rule } from "#/gate/rules.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
import { Lines, parseRequest } from "#/helper/protocol.ts";
import { CaptureParser } from "#/lib/capture.ts";
import { CodedError } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { showLine } from "#/web/browser/terminal.ts";
import {
  buildUuid,
  parseBuildArgument,
  parseDescriptionArgument,
  parseStopArgument,
} from "#/zuul/arguments.ts";

type Target = (data: Buffer) => void | Promise<void>;

/** A refusal in the decoder's own words. */
const isRefusal = (error: unknown) => error instanceof CodedError;

function refusable(decode: () => unknown, isFine: (error: unknown) => boolean = isRefusal): void {
  try {
    decode();
  } catch (error) {
    if (!isFine(error)) throw error;
  }
}

/** The bytes in two pieces and in single ones; the first byte says where the cut is. */
function cuts(data: Buffer): Buffer[][] {
  const at = data.length > 0 ? (data[0] ?? 0) % data.length : 0;
  const single = Array.from(data.subarray(0, 2000), (_, index) => data.subarray(index, index + 1));
  return [
    [data.subarray(0, at), data.subarray(at)],
    [...single, data.subarray(2000)],
  ];
}

/** What a decoder makes of the bytes, up to the error that ends it. */
function same(data: Buffer, read: (pieces: readonly Buffer[]) => unknown): void {
  const whole = read([data]);
  for (const pieces of cuts(data)) assert.deepEqual(read(pieces), whole);
}

/** Collects until a refusal. */
function collect<T>(
  found: T[],
  next: () => Iterable<T>,
  isFine: (error: unknown) => boolean = isRefusal,
): boolean {
  try {
    for (const one of next()) found.push(one);
    return true;
  } catch (error) {
    if (!isFine(error)) throw error;
    return false;
  }
}

const text = (data: Buffer) => data.toString("latin1");

function packets(magic: "REQ" | "RES", isText: boolean): Target {
  return (data) =>
    same(data, (pieces) => {
      const parser = new PacketParser({ magic, text: isText });
      const found: unknown[] = [];
      for (const piece of pieces) if (!collect(found, () => parser.push(piece))) break;
      return found;
    });
}

/** Data between other events comes in any number of pieces. */
function joined(events: readonly TelnetEvent[]): unknown[] {
  const all: unknown[] = [];
  for (const event of events) {
    const last = all.at(-1);
    if (event.kind !== "data") all.push(event);
    else if (typeof last === "string") all[all.length - 1] = last + text(Buffer.from(event.bytes));
    else all.push(text(Buffer.from(event.bytes)));
  }
  return all;
}

const folder = mkdtempSync(join(tmpdir(), "labgear-fuzz-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
const ignore = () => {};
const log: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore, child: () => log };
const readRecord = recordReader();
const callers = new Callers(log);
const rule: Rule = {
  number: 1,
  id: "r",
  when: new Map([["sub", [{ source: "a", matches: (value) => value === "a" }]]]),
  allow: {} as Rule["allow"],
};

export const targets: Readonly<Record<string, Target>> = {
  requests: packets("REQ", true),
  responses: packets("RES", false),
  "admin-lines": packets("RES", true),
  "build-argument": (data) =>
    refusable(() => {
      const parameters = parseBuildArgument(data);
      buildUuid(text(data).slice(0, 64), parameters);
      parseInputs(parameters);
      parseLeaseTerms(parameters);
    }),
  "stop-argument": (data) => refusable(() => parseStopArgument(data)),
  "description-argument": (data) => refusable(() => parseDescriptionArgument(data)),
  send: (data) => {
    refusable(() => parsePiece(data));
    refusable(() => parseReceived(data));
  },
  fetch: (data) => {
    refusable(() => parseFetch(data));
    refusable(() => parseFetched(data));
    refusable(() => parseArtifacts(data));
  },
  type: (data) => {
    refusable(() => parseTyping(data));
    refusable(() => parseBurst(data));
    refusable(() => parseOrders(data));
    refusable(() => parseTyped(data));
  },
  console: (data) => {
    refusable(() => parseConsoleRequest(data));
    refusable(() => parseConsolePiece(data));
  },
  info: (data) => refusable(() => parseInfo(data)),
  data: (data) => {
    const object = dataObject(data);
    refusable(() => parseWants(object));
    refusable(() => parseLeaseEvent(object));
    refusable(() => parsePublicKey(text(data)));
  },
  junit: (data) => {
    const limits = { maxCases: 100, maxText: 10_000, maxDetails: 1000 };
    const document = new JunitReader(limits).document();
    for (let at = 0; at < data.length; at += 64) if (!document.write(text(data.subarray(at, at + 64)))) break;
    document.end();
  },
  ansi: (data) => {
    showLine(data.toString("utf8"));
    same(data, (pieces) => {
      const plain = new PlainText();
      return pieces.map((piece) => plain.push(piece)).join("");
    });
  },
  sections: (data) => {
    const lines = data.toString("utf8").split("\n");
    const reader = new SectionReader();
    for (const [n, line] of lines.entries()) reader.line(n, line);
    for (const { from, to } of reader.sections(lines.length, true))
      assert.ok(to !== null && from < to && to < lines.length);
  },
  framing: (data) => {
    for (const encoding of ["base64", "hex"] as const)
      same(data, (pieces) => {
        const reader = new AnswerReader("cksum", encoding);
        return pieces.flatMap((piece): Answer[] => reader.feed(text(piece)));
      });
  },
  telnet: (data) =>
    same(data, (pieces) => {
      const parser = new TelnetParser();
      return joined(pieces.flatMap((piece) => [...parser.push(piece)]));
    }),
  rfc2217: (data) => {
    const server = new Rfc2217Server(9600);
    for (const _ of server.push(data));
  },
  capture: (data) =>
    same(data, (pieces) => {
      const parser = new CaptureParser();
      const found: unknown[] = [];
      const isDamaged = (error: unknown) => error instanceof TypeError && /capture/.test(error.message);
      for (const piece of pieces) if (!collect(found, () => parser.push(piece), isDamaged)) break;
      return found;
    }),
  configuration: async (data) => {
    const file = join(folder, "labgear.yaml");
    writeFileSync(file, data);
    await loadConfig({ file }).catch((error) => assert.ok(isRefusal(error), error));
  },
  record: async (data) => {
    const read = await readRecord;
    writeFileSync(recordFile(folder), data);
    refusable(
      () => read(folder),
      (error) => error instanceof SyntaxError,
    );
  },
  "gate-configuration": (data) => {
    const file = join(folder, "gate.yaml");
    writeFileSync(file, data);
    refusable(() => loadGateConfig(file));
  },
  "gate-request": (data) => {
    let value: unknown;
    try {
      value = JSON.parse(data.toString());
    } catch {
      return;
    }
    refusable(() => parseBuildRequest(value));
    if (typeof value === "object" && value !== null)
      decide([rule], claimsOf(value as Record<string, unknown>, { issuer: "i" }));
  },
  token: async (data) => {
    await callers.identify(text(data)).catch((error) => assert.ok(isRefusal(error), error));
  },
  helper: (data) => {
    const lines = new Lines();
    refusable(() => {
      for (const line of lines.push(text(data))) parseRequest(line);
    });
  },
};
