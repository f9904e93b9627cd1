/** Fetches what a build has left: whole files with their digests checked, resumed where an earlier attempt was cut. */
import { createHash, type Hash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Calls } from "#/client/calls.ts";
import type { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import {
  type ArtifactEntry,
  type Fetched,
  formatFetch,
  parseArtifacts,
  parseFetched,
} from "#/exchange/fetch.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import type { BuildSelector } from "#/exchange/key.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { formatSize } from "#/lib/units.ts";
import { CommandError } from "../exit.ts";
import type { PartialFile, ResultFolder } from "./folder.ts";

/** How often a piece is asked for, over lost lines, before the fetch is given up. */
const maxTries = 5;
const retryIntervalMs = 1000;

/** Of what is read into memory: records and lists. */
export const maxTextBytes = 32 * 1024 * 1024;

/** A result that is a file here now. */
export interface Saved {
  readonly size: number;
  /** Whether it is what its digest says; false while its build runs, when there is none. */
  readonly isChecked: boolean;
}

/** One piece of a result: from the build's agent, or through a gate. @throws ExchangeError, GearmanError */
export type AskPiece = (path: string, offset: number, length: number) => Promise<Fetched>;

export interface AgentResults {
  readonly calls: Calls;
  readonly manager: string;
  readonly build: BuildSelector;
  /** Absent: only what everybody sees. */
  readonly signer?: Signer | undefined;
}

export function askAgent({ calls, manager, build, signer }: AgentResults): AskPiece {
  return async (path, offset, length) => {
    const request = { build, path, offset, length };
    const ask = async (by?: Parameters<typeof formatFetch>[1]) => {
      const fetched = parseFetched(await calls.call(fetchFunction(manager), formatFetch(request, by)));
      if (fetched.offset !== offset || fetched.bytes.length > length)
        throw new ExchangeError("malformed", `${manager} answers with another part of ${path}`);
      return fetched;
    };
    if (!signer) return await ask();
    try {
      return await signer.signed((time) => ask({ key: signer.key, time }));
    } catch (error) {
      if (!(error instanceof ExchangeError && ["signature", "unsigned"].includes(error.code))) throw error;
      // Somebody else's build of the same uuid: what everybody sees is there for us, too.
      return await ask().catch((refusal: unknown) => {
        throw refusal instanceof ExchangeError && refusal.code === "unsigned" ? error : refusal;
      });
    }
  };
}

/** What one build has left. */
export class BuildResults {
  readonly #ask: AskPiece;

  constructor(ask: AskPiece) {
    this.#ask = ask;
  }

  /** One piece, over lost lines. @throws ExchangeError, GearmanError */
  async piece(path: string, offset: number, length = maxPieceBytes): Promise<Fetched> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#ask(path, offset, length);
      } catch (error) {
        const passes =
          error instanceof GearmanError || (error instanceof ExchangeError && error.code === "unavailable");
        if (!passes || tries === maxTries) throw error;
        await delay(retryIntervalMs);
      }
    }
  }

  /** A small whole. @throws ExchangeError */
  async text(path: string): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let offset = 0; ; ) {
      const { bytes, size, end } = await this.piece(path, offset);
      if (size > maxTextBytes) throw new ExchangeError("malformed", `${path} has ${formatSize(size)}`);
      pieces.push(bytes);
      offset += bytes.length;
      if (end || bytes.length === 0) return Buffer.concat(pieces);
    }
  }

  async artifacts(): Promise<ArtifactEntry[]> {
    return parseArtifacts(await this.text("artifacts"));
  }

  /**
   * Fetches a whole result into a file; of a running build what there is at this moment.
   * @param expected what a list says of it
   * @throws ExchangeError not-found; CommandError failure when it isn't what its digest says
   */
  async save(
    path: string,
    folder: ResultFolder,
    name: string,
    expected: { readonly size?: number; readonly sha256?: string | undefined } = {},
  ): Promise<Saved> {
    // Known before a file is made for it.
    const first = await this.piece(path, 0, 1);
    await using file = await folder.open(name);
    const sha256 = expected.sha256 ?? first.sha256;
    const maxSize = expected.size ?? first.size;
    if (sha256 !== undefined && (await file.isHere(maxSize, sha256))) {
      await file.discard();
      return { size: maxSize, isChecked: true };
    }
    // What an earlier attempt has left may be of another build: only a digest tells.
    const resumed = sha256 !== undefined && file.size <= maxSize ? file.size : 0;
    for (const from of new Set([resumed, 0])) {
      const size = await this.#collect(path, file, from, { sha256, maxSize });
      if (size !== undefined) return { size, isChecked: sha256 !== undefined };
    }
    await file.discard();
    throw new CommandError("failure", `${path} of the build isn't what its digest says`);
  }

  /** @returns its size; undefined: the digest is another one */
  async #collect(
    path: string,
    file: PartialFile,
    from: number,
    { sha256, maxSize }: { readonly sha256: string | undefined; readonly maxSize: number },
  ): Promise<number | undefined> {
    await file.handle.truncate(from);
    const hash = createHash("sha256");
    await hashStart(file, from, hash);
    let offset = from;
    // Not to its end: what a running build writes goes on growing.
    while (offset < maxSize) {
      const { bytes } = await this.piece(path, offset, Math.min(maxPieceBytes, maxSize - offset));
      if (bytes.length === 0) break;
      await file.handle.write(bytes, 0, bytes.length, offset);
      hash.update(bytes);
      offset += bytes.length;
    }
    if (sha256 !== undefined && hash.digest("hex") !== sha256) return undefined;
    await file.finish();
    return offset;
  }
}

/** What is in the file already counts for the digest. */
async function hashStart(file: PartialFile, size: number, hash: Hash): Promise<void> {
  const buffer = Buffer.allocUnsafe(maxPieceBytes);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.handle.read(buffer, 0, Math.min(maxPieceBytes, size - at), at);
    if (bytesRead === 0) return;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}
