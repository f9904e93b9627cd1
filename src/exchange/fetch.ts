/**
 * `fetch:MANAGER`: a range of something that a build has.
 *
 *     {"uuid": …, "path": …, "offset": N, "length": N}                         (or "name", "number"; and "time", "signature")
 *         →  {"size": N, "offset": N, "end": true, "sha256": …}\n BYTES
 *
 * Paths: `record`, `console`, `tests`, `junit` (all reports as one), `serial`, `artifacts` (the list), `artifacts/PATH`.
 * `offset` is 0 where absent, `length` as much as fits (1 MiB). In the answer `size` is that of the whole at this moment,
 * `offset` where BYTES begin, `end` whether nothing follows them and nothing will be added: of a running build it is false, and
 * a client that has everything so far asks again later. `sha256` is of the whole, once the build has ended.
 *
 * A build whose pages everybody sees needs no signature. With one that is wrong, a request is refused all the same.
 */
import { type BuildKey, type BuildSelector, parseSelector, type Signed } from "./key.ts";
import {
  isCount,
  isDigest,
  isLine,
  joinMessage,
  malformed,
  maxLineBytes,
  maxPieceBytes,
  parseObject,
  refuseOtherKeys,
  splitMessage,
  throwRefusal,
} from "./message.ts";

export interface FetchRequest {
  readonly build: BuildSelector;
  readonly path: string;
  readonly offset: number;
  /** At most maxPieceBytes. */
  readonly length: number;
  readonly signed: Signed;
  readonly signature: string | undefined;
}

/** Linux's PATH_MAX. */
const maxPathLength = 4096;

/** @param by absent: unsigned; the time is in Unix milliseconds by the agent's clock */
export function formatFetch(
  request: Pick<FetchRequest, "build" | "path" | "offset" | "length">,
  by?: { readonly key: BuildKey; readonly time: number },
): Buffer {
  const { build, path, offset, length } = request;
  const plain = { ...build, path, offset, length };
  if (!by) return Buffer.from(JSON.stringify(plain));
  const { key, time } = by;
  const signature = key.sign({ operation: "fetch", build, what: path, offset, length, time });
  return Buffer.from(JSON.stringify({ ...plain, time, signature }));
}

/** @throws ExchangeError malformed */
export function parseFetch(argument: Uint8Array): FetchRequest {
  const object = parseObject(argument);
  refuseOtherKeys(object, ["uuid", "name", "number", "path", "offset", "length", "time", "signature"]);
  const { path, offset = 0, length = maxPieceBytes, time = 0, signature } = object;
  const build = parseSelector(object);
  if (!isLine(path, maxPathLength) || path === "") throw malformed('has no "path" of one line');
  if (!isCount(offset) || !isCount(length) || !isCount(time))
    throw malformed('has no whole numbers as "offset", "length" and "time"');
  if (length === 0 || length > maxPieceBytes)
    throw malformed(`asks for more or less than 1 to ${maxPieceBytes} bytes`);
  if (signature !== undefined && typeof signature !== "string") throw malformed('has no text as "signature"');
  const signed: Signed = { operation: "fetch", build, what: path, offset, length, time };
  return { build, path, offset, length, signed, signature };
}

/** A range of a result. */
export interface Fetched {
  /** Of the whole, at this moment. */
  readonly size: number;
  readonly offset: number;
  /** Nothing follows, and nothing will be added. */
  readonly end: boolean;
  /** Of the whole, once the build has ended. */
  readonly sha256?: string;
  readonly bytes: Buffer;
}

export function formatFetched({ bytes, ...head }: Fetched): Buffer {
  return joinMessage(head, bytes);
}

/** @throws ExchangeError the agent's refusal, or malformed */
export function parseFetched(answer: Buffer): Fetched {
  // A refusal is an object without a newline.
  if (!answer.subarray(0, maxLineBytes + 1).includes(0x0a)) throwRefusal(parseObject(answer));
  const { object, bytes } = splitMessage(answer);
  const { size, offset, end, sha256 } = object;
  if (!isCount(size) || !isCount(offset) || typeof end !== "boolean")
    throw malformed('has no "size", "offset" and "end"');
  if (sha256 !== undefined && !isDigest(sha256)) throw malformed('has a "sha256" that is no digest');
  const until = offset + bytes.length;
  if (until > size && bytes.length > 0) throw malformed("has more bytes than its size says");
  if (end && until < size) throw malformed("says that it is the end, and isn't");
  return { size, offset, end, ...(sha256 !== undefined && { sha256 }), bytes };
}

/** An entry of the path `artifacts`, which is `{"artifacts": […]}`. */
export interface ArtifactEntry {
  /** Fetched as `artifacts/PATH`. */
  readonly path: string;
  readonly size: number;
  /** Absent while the build runs. */
  readonly sha256?: string;
  /** A media type. */
  readonly type: string;
  /** From before the build. */
  readonly stale?: true;
}

/** Of the list of artifacts. */
const maxListBytes = 16 * 1024 * 1024;

export function formatArtifacts(artifacts: readonly ArtifactEntry[]): Buffer {
  return Buffer.from(`${JSON.stringify({ artifacts }, null, 2)}\n`);
}

/**
 * The list, checked: each path is relative, has no "." or "..", and stays below the folder it is written to.
 * @throws ExchangeError malformed
 */
export function parseArtifacts(bytes: Uint8Array): ArtifactEntry[] {
  const { artifacts } = parseObject(bytes, maxListBytes);
  if (!Array.isArray(artifacts)) throw malformed('has no list "artifacts"');
  return artifacts.map((entry): ArtifactEntry => {
    const { path, size, sha256, type, stale } = (entry ?? {}) as Record<string, unknown>;
    if (!isLine(path, maxPathLength) || !isRelative(path)) throw malformed("has an artifact with a bad path");
    if (!isCount(size) || typeof type !== "string") throw malformed("has an artifact without size or type");
    if (sha256 !== undefined && !isDigest(sha256)) throw malformed('has a "sha256" that is no digest');
    return { path, size, ...(sha256 !== undefined && { sha256 }), type, ...(stale === true && { stale }) };
  });
}

function isRelative(path: string): boolean {
  return path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}
