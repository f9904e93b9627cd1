/** Almost valid packets: real ones with bytes changed, cut, moved or made up, the same for each seed. */
import { encode, headerSize, type Magic, type PacketType } from "#/gearman/wire/packet.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
import { seeded, seededBytes } from "../support/random.ts";

type Sample = readonly [PacketType, ...(string | Uint8Array)[]];

const samples: Readonly<Record<Magic, readonly Sample[]>> = {
  RES: [
    ["JOB_ASSIGN_UNIQ", "H:x:1", "f", "unique", '{"A":"b"}'],
    ["JOB_ASSIGN", "H:x:1", "f", '{"A":"b"}'],
    ["JOB_ASSIGN_ALL", "H:x:1", "f", "unique", "", "{}"],
    ["NO_JOB"],
    ["NOOP"],
    ["STATUS_RES", "H:none:0", "0", "0", "0", "0"],
    ["STATUS_RES", "H:x:1", "1", "1", "50", "100"],
    ["STATUS_RES_UNIQUE", "u", "1", "1", "50", "100", "1"],
    ["ERROR", "CODE", "text\nof an error"],
    ["JOB_CREATED", "H:x:1"],
    ["WORK_DATA", "H:x:1", "data"],
    ["WORK_WARNING", "H:x:1", "data"],
    ["WORK_STATUS", "H:x:1", "1", "2"],
    ["WORK_EXCEPTION", "H:x:1", "data"],
    ["WORK_COMPLETE", "H:x:1", "data"],
    ["WORK_FAIL", "H:x:1"],
    ["ECHO_RES", "data"],
    ["OPTION_RES", "exceptions"],
  ],
  REQ: [
    ["CAN_DO", "g"],
    ["CAN_DO_TIMEOUT", "g", "60"],
    ["CANT_DO", "g"],
    ["RESET_ABILITIES"],
    ["PRE_SLEEP"],
    ["GRAB_JOB"],
    ["GRAB_JOB_UNIQ"],
    ["GRAB_JOB_ALL"],
    ["ALL_YOURS"],
    ["SET_CLIENT_ID", "me"],
    ["SUBMIT_JOB", "g", "u", "data"],
    ["SUBMIT_JOB_BG", "g", "", "data"],
    ["SUBMIT_JOB_HIGH", "g", "-", "data"],
    ["SUBMIT_JOB_EPOCH", "g", "u", "1", "data"],
    ["GET_STATUS", "H:x:1"],
    ["GET_STATUS_UNIQUE", "u"],
    ["WORK_DATA", "H:x:1", "data"],
    ["WORK_STATUS", "H:x:1", "1", "2"],
    ["WORK_COMPLETE", "H:x:1", "data"],
    ["WORK_FAIL", "H:x:1"],
    ["ECHO_REQ", "data"],
    ["OPTION_REQ", "exceptions"],
  ],
};

const lines: Readonly<Record<Magic, readonly string[]>> = {
  REQ: [
    "status",
    "workers",
    "version",
    "show jobs",
    "show unique jobs",
    "maxqueue g 3",
    "create function h",
    "drop function h",
    "cancel job H:x:1",
    "shutdown",
    "verbose",
    "",
  ],
  RES: ["f\t1\t0\t2", "12 127.0.0.1 me : f g", "OK 1.1.20", "H:x:1\t0\t0\t1", "ERR CODE text", "OK", ".", ""],
};

const sizes = [0, 1, 11, 255, 65_536, 2 ** 24, 2 ** 31, 2 ** 32 - 1];

/** Makes pieces of what one side sends, odd ones and valid ones; `text`: lines too. */
function mutator(
  random: (bound: number) => number,
  magic: Magic,
  text: boolean,
): () => [piece: Buffer, odd: boolean] {
  const pick = <T>(all: readonly T[]): T => all[random(all.length)] as T;
  const packet = () => encode(magic, ...pick(samples[magic]));
  const ways: readonly (() => Buffer)[] = [
    // One to four bytes changed.
    () => {
      const bytes = packet();
      for (let count = random(4); count >= 0; count--) bytes[random(bytes.length)] = random(256);
      return bytes;
    },
    // Other data under the right length.
    () => {
      const bytes = packet();
      seededBytes(random, bytes.length - headerSize).copy(bytes, headerSize);
      return bytes;
    },
    // Arguments moved or missing: a NUL put in or taken out.
    () => {
      const bytes = packet();
      if (bytes.length > headerSize) {
        const at = headerSize + random(bytes.length - headerSize);
        bytes[at] = bytes[at] === 0 ? 0x41 : 0;
      }
      return bytes;
    },
    // Another type, known or not, with these data.
    () => {
      const bytes = packet();
      bytes.writeUInt32BE(random(48), 4);
      return bytes;
    },
    // Cut off.
    () => {
      const bytes = packet();
      return bytes.subarray(0, 1 + random(bytes.length));
    },
    // A size that isn't that of the data.
    () => {
      const bytes = packet();
      bytes.writeUInt32BE(pick(sizes), 8);
      return bytes;
    },
    // What the other side would send.
    () => encode(magic === "REQ" ? "RES" : "REQ", ...pick(samples[magic])),
    () => seededBytes(random, 1 + random(64)),
  ];
  const textual = () => {
    const line = Buffer.from(`${pick(lines[magic])}${pick(["\n", "\r\n", "\n", ""])}`, "latin1");
    if (line.length > 0 && random(3) === 0) line[random(line.length)] = random(256);
    return line.length > 0 ? line : Buffer.from("\n");
  };
  return () => {
    if (text && random(3) === 0) return [textual(), true];
    // Valid ones in between lead to other states.
    return random(3) === 0 ? [packet(), false] : [pick(ways)(), true];
  };
}

export interface Session {
  readonly bytes: Buffer;
  /** Odd pieces in it. */
  readonly pieces: number;
}

/**
 * What one connection sends: pieces up to the first one that ends a parser, or that swallows what follows, so that each one
 * counts.
 */
export function sessions(
  seed: number,
  magic: Magic,
  options: { text?: boolean; max?: number } = {},
): () => Session {
  const { text = false, max = 50 } = options;
  const random = seeded(seed);
  const next = mutator(random, magic, text);
  return () => {
    const parser = new PacketParser({ magic, text });
    const all: Buffer[] = [];
    let pieces = 0;
    while (all.length < max && parser.idle) {
      const [piece, odd] = next();
      all.push(piece);
      if (odd) pieces += 1;
      try {
        for (const _ of parser.push(piece));
      } catch {
        break;
      }
    }
    return { bytes: Buffer.concat(all), pieces };
  };
}
