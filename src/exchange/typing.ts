/**
 * `type:MANAGER`: what the holder of a lease does to its board, or only a sign of life.
 *
 *     {"number": N, "session": HEX, "sequence": N, "length": N, "time": N, "signature": …}\n OPERATIONS   →  {"next": N, "done": N, "left": MS}
 *
 * `number` is the lease's. OPERATIONS are `{"sent": MICROSECONDS, "operations": […]}`, `length` their bytes; without any it is a sign of life. `sequence` counts the messages
 * with operations from 1; 0 is a sign of life, or an order (`extend`, `release`) that another process of the holder gives at any time.
 * The answer's `next` is the one that is expected: an earlier one is answered and not done again, a later
 * one refused with the error `offset`, since the order is the board's. Each message's end follows on the lease as `done`.
 *
 * The signature (key.ts) is over the operation `type`, the build `lease#NUMBER`, and as WHAT the session, a colon, and the SHA-256 of
 * OPERATIONS; OFFSET is the sequence. So a message is good for one lease on one board alone, and no one can change or reorder it.
 * A sign of life has to be later than the last message: a captured one keeps no board. So has an order, and is refused as `unavailable`
 * otherwise: sign it again.
 */
import { createHash } from "node:crypto";
import type { BuildKey, Signed } from "./key.ts";
import { isSession, leaseJob } from "./lease.ts";
import {
  isCount,
  isLine,
  isObject,
  type JsonObject,
  joinMessage,
  malformed,
  parseObject,
  refuseOtherKeys,
  splitMessage,
  throwRefusal,
} from "./message.ts";

export function typeFunction(manager: string): string {
  return `type:${manager}`;
}

/** What is done to the board. `at` is the client's monotonic time in microseconds since the lease began. */
export type Operation = { readonly at: number } & (
  | { readonly op: "write"; readonly data: string }
  | { readonly op: "baud"; readonly baud: number }
  | { readonly op: "format"; readonly bits: 5 | 6 | 7 | 8; readonly parity: Parity; readonly stop: 1 | 2 }
  | { readonly op: "flow"; readonly flow: Flow }
  | { readonly op: "dtr" | "rts"; readonly on: boolean }
  | { readonly op: "break"; readonly ms: number }
  /** Drops what is typed and not sent yet. */
  | { readonly op: "purge" }
  | { readonly op: "reset" }
  | { readonly op: "power"; readonly action: "on" | "off" | "cycle" }
  | { readonly op: "extend"; readonly seconds: number }
  | { readonly op: "release"; readonly reason: string }
  /** A file that came by send: goes to the board. */
  | { readonly op: "put"; readonly to: string; readonly size: number; readonly sha256: string }
  /** A file of the board, to be fetched as `file`. */
  | { readonly op: "get"; readonly from: string }
);

type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;
/** An operation whose time isn't set yet. */
export type Deed = WithoutTime<Operation>;

export const parities = ["none", "odd", "even", "mark", "space"] as const;
export type Parity = (typeof parities)[number];
const flows = ["none", "xonxoff", "rtscts"] as const;
export type Flow = (typeof flows)[number];

/** Of the operations of one message, in bytes and in number. */
export const maxOperationsBytes = 192 * 1024;
const maxOperations = 4096;
/** Of what one of them writes. */
const maxWriteChars = 128 * 1024;
const maxBreakMs = 10_000;
const maxPathLength = 4096;

export interface Typing {
  readonly number: number;
  readonly session: string;
  /** Of a sign of life or an order: 0. */
  readonly sequence: number;
  readonly time: number;
  readonly operations: Buffer;
  /** What the signature has to be about. */
  readonly signed: Signed;
  readonly signature: string | undefined;
}

type Facts = Pick<Typing, "number" | "session" | "sequence" | "time">;

function signedBy({ number, session, sequence, time }: Facts, operations: Buffer): Signed {
  const digest = createHash("sha256").update(operations).digest("hex");
  return {
    operation: "type",
    build: { name: leaseJob, number },
    what: `${session}:${digest}`,
    ...{ offset: sequence, length: operations.length, time },
  };
}

/** Operations, and the client's time at which they were sent. */
export interface Burst {
  /** As the operations have it: microseconds since the lease began. */
  readonly sent: number;
  readonly operations: readonly Operation[];
}

/** @param burst absent: a sign of life */
export function formatTyping(key: BuildKey, facts: Facts, burst?: Burst): Buffer {
  const bytes = Buffer.from(burst ? JSON.stringify(burst) : "");
  const signature = key.sign(signedBy(facts, bytes));
  return joinMessage({ ...facts, length: bytes.length, signature }, bytes);
}

/**
 * Reads the line and looks at nothing else: verify the signature before reading the operations.
 * @throws ExchangeError malformed
 */
export function parseTyping(argument: Buffer): Typing {
  const { object, bytes } = splitMessage(argument);
  refuseOtherKeys(object, ["number", "session", "sequence", "length", "time", "signature"]);
  const { number, session, sequence, length, time, signature } = object;
  if (!isCount(number) || number < 1) throw malformed('has no "number" of a lease');
  if (!isSession(session)) throw malformed('has no "session"');
  if (!isCount(sequence) || !isCount(length) || !isCount(time))
    throw malformed('has no whole numbers as "sequence", "length" and "time"');
  if (length !== bytes.length)
    throw malformed(`says ${length} bytes and has ${bytes.length} behind its line`);
  if (length > maxOperationsBytes) throw malformed(`has more than ${maxOperationsBytes} bytes of operations`);
  if (sequence > 0 && length === 0) throw malformed("has a sequence and no operations");
  if (signature !== undefined && typeof signature !== "string") throw malformed('has no text as "signature"');
  const facts = { number, session, sequence, time };
  return { ...facts, operations: bytes, signed: signedBy(facts, bytes), signature };
}

/** @throws ExchangeError malformed */
export function parseBurst(bytes: Buffer): Burst {
  const { sent, operations: list } = parseObject(bytes, maxOperationsBytes);
  if (!isCount(sent)) throw malformed('has no "sent"');
  if (!Array.isArray(list) || list.length === 0 || list.length > maxOperations)
    throw malformed(`has no list of 1 to ${maxOperations} operations`);
  let before = 0;
  const operations = list.map((value) => {
    if (!isObject(value) || !isCount(value.at) || value.at < before || !isOperation(value))
      throw malformed(`has an operation that can't be done: ${JSON.stringify(value).slice(0, 60)}`);
    before = value.at;
    return value as unknown as Operation;
  });
  return { sent, operations };
}

/** What the holder says of the lease itself: it is done at once, whatever is typed. */
export type Order = Extract<Operation, { readonly op: "extend" | "release" }>;
/** An order whose time isn't set yet. */
export type OrderDeed = WithoutTime<Order>;

/** @throws ExchangeError malformed */
export function parseOrders(bytes: Buffer): readonly Order[] {
  const { operations } = parseBurst(bytes);
  const orders = operations.filter((operation) => operation.op === "extend" || operation.op === "release");
  if (orders.length === operations.length) return orders;
  throw malformed("has operations without a sequence that need one");
}

/** What each operation needs besides its time. */
const forms: Readonly<Record<string, (operation: JsonObject) => boolean>> = {
  write: ({ data }) =>
    typeof data === "string" && data.length <= maxWriteChars && /^[A-Za-z0-9+/]+={0,2}$/.test(data),
  baud: ({ baud }) => isBetween(baud, 1, 20_000_000),
  format: ({ bits, parity, stop }) =>
    isBetween(bits, 5, 8) && parities.includes(parity as Parity) && isBetween(stop, 1, 2),
  flow: ({ flow }) => flows.includes(flow as Flow),
  dtr: ({ on }) => typeof on === "boolean",
  rts: ({ on }) => typeof on === "boolean",
  break: ({ ms }) => isBetween(ms, 1, maxBreakMs),
  purge: () => true,
  reset: () => true,
  power: ({ action }) => action === "on" || action === "off" || action === "cycle",
  extend: ({ seconds }) => isBetween(seconds, 1, 10_000_000),
  release: ({ reason }) => isLine(reason, 200),
  put: ({ to, size, sha256 }) =>
    isPath(to) && isCount(size) && typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256),
  get: ({ from }) => isPath(from),
};

function isOperation(value: JsonObject): boolean {
  const { op } = value;
  return typeof op === "string" && Object.hasOwn(forms, op) && forms[op]?.(value) === true;
}

function isBetween(value: unknown, min: number, max: number): boolean {
  return isCount(value) && value >= min && value <= max;
}

function isPath(value: unknown): boolean {
  return isLine(value, maxPathLength) && value !== "";
}

/** Where a lease stands. */
export interface Typed {
  /** The sequence that is expected. */
  readonly next: number;
  /** The last sequence that is done: `done` on the lease may be lost with the line. */
  readonly done: number;
  /** Milliseconds to the lease's end; absent: it hasn't begun. */
  readonly left?: number;
}

export function formatTyped(typed: Typed): Buffer {
  return Buffer.from(JSON.stringify(typed));
}

/** @throws ExchangeError the agent's refusal, or malformed */
export function parseTyped(answer: Uint8Array): Typed {
  const object = parseObject(answer);
  throwRefusal(object);
  const { next, done, left } = object;
  if (!isCount(next) || !isCount(done) || (left !== undefined && !isCount(left)))
    throw malformed('has no "next", "done" and "left"');
  return { next, done, ...(left !== undefined && { left }) };
}
