/**
 * The Gearman packet codec: packets to bytes and back, without I/O. Source: PROTOCOL of gearmand, "Binary Packet".
 *
 *     4 bytes  magic: NUL "REQ" to a server, NUL "RES" from one
 *     4 bytes  type, big-endian
 *     4 bytes  size of the data that follows, big-endian
 *     data     arguments, separated by NUL; the last may itself contain NUL
 */
import { GearmanError } from "./errors.ts";

export type Magic = "REQ" | "RES";

/** Every packet of PROTOCOL: its number, and the names of its arguments. */
const table = {
  CAN_DO: [1, "function"],
  CANT_DO: [2, "function"],
  RESET_ABILITIES: [3],
  PRE_SLEEP: [4],
  NOOP: [6],
  SUBMIT_JOB: [7, "function", "unique", "data"],
  JOB_CREATED: [8, "handle"],
  GRAB_JOB: [9],
  NO_JOB: [10],
  JOB_ASSIGN: [11, "handle", "function", "data"],
  WORK_STATUS: [12, "handle", "numerator", "denominator"],
  WORK_COMPLETE: [13, "handle", "data"],
  WORK_FAIL: [14, "handle"],
  GET_STATUS: [15, "handle"],
  ECHO_REQ: [16, "data"],
  ECHO_RES: [17, "data"],
  SUBMIT_JOB_BG: [18, "function", "unique", "data"],
  ERROR: [19, "code", "text"],
  STATUS_RES: [20, "handle", "known", "running", "numerator", "denominator"],
  SUBMIT_JOB_HIGH: [21, "function", "unique", "data"],
  SET_CLIENT_ID: [22, "id"],
  CAN_DO_TIMEOUT: [23, "function", "timeout"],
  ALL_YOURS: [24],
  WORK_EXCEPTION: [25, "handle", "data"],
  OPTION_REQ: [26, "option"],
  OPTION_RES: [27, "option"],
  WORK_DATA: [28, "handle", "data"],
  WORK_WARNING: [29, "handle", "data"],
  GRAB_JOB_UNIQ: [30],
  JOB_ASSIGN_UNIQ: [31, "handle", "function", "unique", "data"],
  SUBMIT_JOB_HIGH_BG: [32, "function", "unique", "data"],
  SUBMIT_JOB_LOW: [33, "function", "unique", "data"],
  SUBMIT_JOB_LOW_BG: [34, "function", "unique", "data"],
  SUBMIT_JOB_SCHED: [35, "function", "unique", "minute", "hour", "mday", "month", "wday", "data"],
  SUBMIT_JOB_EPOCH: [36, "function", "unique", "epoch", "data"],
  SUBMIT_REDUCE_JOB: [37, "function", "unique", "reducer", "data"],
  SUBMIT_REDUCE_JOB_BACKGROUND: [38, "function", "unique", "reducer", "data"],
  GRAB_JOB_ALL: [39],
  JOB_ASSIGN_ALL: [40, "handle", "function", "unique", "reducer", "data"],
  GET_STATUS_UNIQUE: [41, "unique"],
  STATUS_RES_UNIQUE: [42, "unique", "known", "running", "numerator", "denominator", "clients"],
} as const satisfies Record<string, readonly [number, ...string[]]>;

export type PacketType = keyof typeof table;

export interface Packet {
  readonly magic: Magic;
  readonly type: PacketType;
  /** One for each argument that PROTOCOL names for this type. */
  readonly args: readonly Buffer[];
}

const typeByNumber = new Map<number, PacketType>(
  Object.entries(table).map(([type, [number]]) => [number, type as PacketType]),
);

/** Bytes before the data. */
export const headerSize = 12;

/** Bytes of a packet's data, by default: far above any job's parameters, far below what would do harm. */
export const defaultMaxPacket = 32 * 1024 * 1024;

/** One packet as bytes. Strings are written as UTF-8; only the last argument may contain NUL. */
export function encode(magic: Magic, type: PacketType, ...args: (string | Uint8Array)[]): Buffer {
  const [number, ...names] = table[type];
  if (args.length !== names.length)
    throw new TypeError(`${type} takes ${names.length} arguments, not ${args.length}`);
  const parts = args.map((arg) => (typeof arg === "string" ? Buffer.from(arg) : arg));
  if (parts.slice(0, -1).some((part) => part.includes(0))) {
    throw new TypeError(`${type}: only the last argument may contain a NUL byte`);
  }
  const size = parts.reduce((sum, part) => sum + part.length, Math.max(0, parts.length - 1));
  const bytes = Buffer.alloc(headerSize + size);
  bytes.write(`\0${magic}`, 0, "latin1");
  bytes.writeUInt32BE(number, 4);
  bytes.writeUInt32BE(size, 8);
  let at = headerSize;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length + 1;
  }
  return bytes;
}

/** The data of a packet, cut at the NULs into as many arguments as its type has. */
export function decodeData(magic: Magic, number: number, data: Buffer): Packet {
  const type = typeByNumber.get(number);
  if (!type) throw new GearmanError("GARBAGE", `packet type ${number} is not in the Gearman protocol`);
  const names = table[type].slice(1);
  const args: Buffer[] = [];
  let start = 0;
  for (let i = 0; i < names.length - 1; i++) {
    const end = data.indexOf(0, start);
    if (end < 0) {
      throw new GearmanError(
        "GARBAGE",
        `${type} has ${i + 1} of its ${names.length} arguments (${names.join(", ")})`,
      );
    }
    args.push(data.subarray(start, end));
    start = end + 1;
  }
  if (names.length > 0) args.push(data.subarray(start));
  else if (data.length > 0) {
    throw new GearmanError("GARBAGE", `${type} carries ${data.length} bytes of data and takes none`);
  }
  return { magic, type, args };
}
