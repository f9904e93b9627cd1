/** What `fetch:` can read of a build: its own files and what its record says, whatever path is asked for. */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { consoleSize, openConsole } from "#/builds/console/follow.ts";
import { type BuildRecord, readCases, readRecord } from "#/builds/record.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { openStored } from "#/builds/workspace/files.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { type Fetched, formatArtifacts } from "#/exchange/fetch.ts";
import { captureFile } from "#/lib/capture.ts";
import { artifactType } from "#/lib/media-type.ts";
import { junitReport } from "#/runners/harness/run.ts";

/** A whole that is read in ranges. */
interface Whole extends AsyncDisposable {
  readonly size: number;
  read(offset: number, length: number): Promise<Buffer>;
  /** Hex. */
  digest(): Promise<string>;
}

/** What the record says of a file. */
type Recorded = () => Promise<{ readonly size: number; readonly sha256?: string } | undefined>;

/** How many digests of finished builds' files are remembered. */
const maxDigests = 1000;
/** How many documents are remembered: a client asks for one range after the other. */
const maxDocuments = 4;
const pieceBytes = 1024 * 1024;

export class Results {
  readonly #digests = new Map<string, string>();
  readonly #documents = new Map<string, Buffer>();

  /**
   * @param length at most maxPieceBytes
   * @throws ExchangeError not-found
   */
  async read(found: FoundBuild, path: string, offset: number, length: number): Promise<Fetched> {
    const { running } = found;
    // What is held back, such as what might become a secret, is written when the console is closed.
    const hasEnded =
      running === undefined || (running.state.phase === "ended" && running.console?.closed !== false);
    await using whole = await this.#open(found, path, hasEnded);
    if (!whole) throw new ExchangeError("not-found", `${found.job}#${found.number} has no such result`);
    const { size } = whole;
    const bytes = offset < size ? await whole.read(offset, Math.min(length, size - offset)) : Buffer.alloc(0);
    const end = hasEnded && offset + bytes.length >= size;
    return { size, offset, end, ...(hasEnded && { sha256: await whole.digest() }), bytes };
  }

  async #open(found: FoundBuild, path: string, hasEnded: boolean): Promise<Whole | undefined> {
    const { folder, running } = found;
    const document = (make: (record: BuildRecord) => Promise<Buffer | undefined>) =>
      this.#document(found, path, hasEnded, make);
    switch (path) {
      case "record":
        return document(async (record) => Buffer.from(`${JSON.stringify(record, null, 2)}\n`));
      case "tests":
        return document(async ({ tests: totals }) => {
          const cases = totals && (await readCases(folder));
          return cases && Buffer.from(`${JSON.stringify({ totals, cases }, null, 2)}\n`);
        });
      case "junit":
        return document(async ({ job, tests: totals }) => {
          const cases = totals && (await readCases(folder));
          return cases && Buffer.from(junitReport(cases, job));
        });
      case "artifacts":
        return document(async ({ artifacts = [] }) =>
          formatArtifacts(
            artifacts.map(({ path, size, sha256, stale }) => ({
              ...{ path, size, type: artifactType(path) },
              ...(sha256 !== undefined && { sha256 }),
              ...(stale && { stale }),
            })),
          ),
        );
      case "console": {
        const file = await openConsole(folder);
        return file && this.#file(file, `${folder} ${path}`, await consoleSize(file, running?.console));
      }
      case "serial":
        return this.#stored(folder, path, await openStored(folder, captureFile));
    }
    const [, artifact] = /^artifacts\/(.+)$/s.exec(path) ?? [];
    if (artifact === undefined) return undefined;
    // Opened from the build's folder, because a job may have replaced the artifacts folder itself by a link.
    const recorded = async () => {
      const { artifacts = [] } = await recordOf(found);
      return artifacts.find(({ path }) => path === artifact);
    };
    return this.#stored(folder, path, await openStored(folder, artifact, "artifacts"), recorded);
  }

  async #stored(
    folder: string,
    path: string,
    file: FileHandle | undefined,
    recorded?: Recorded,
  ): Promise<Whole | undefined> {
    return file && this.#file(file, `${folder} ${path}`, (await file.stat()).size, recorded);
  }

  /** What is made of the record, and made once for all ranges of a finished build. */
  async #document(
    found: FoundBuild,
    path: string,
    hasEnded: boolean,
    make: (record: BuildRecord) => Promise<Buffer | undefined>,
  ): Promise<Whole | undefined> {
    const key = `${found.folder} ${path} ${found.summary.ended}`;
    const known = hasEnded ? this.#documents.get(key) : undefined;
    const bytes = known ?? (await make(await recordOf(found)));
    if (!bytes) return undefined;
    if (hasEnded) remember(this.#documents, key, bytes, maxDocuments);
    return {
      size: bytes.length,
      read: async (offset, length) => bytes.subarray(offset, offset + length),
      digest: async () => createHash("sha256").update(bytes).digest("hex"),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  async #file(file: FileHandle, name: string, size: number, recorded?: Recorded): Promise<Whole> {
    const { mtimeMs, ino } = await file.stat();
    return {
      size,
      read: (offset, length) => readRange(file, offset, length),
      digest: async () => {
        const key = `${name} ${ino} ${size} ${mtimeMs}`;
        let digest = this.#digests.get(key);
        if (digest === undefined) {
          const known = await recorded?.();
          digest = (known?.size === size && known.sha256) || (await digestOf(file, size));
        }
        remember(this.#digests, key, digest, maxDigests);
        return digest;
      },
      [Symbol.asyncDispose]: () => file.close(),
    };
  }
}

/** A map in the order of use, from the longest unused. */
function remember<Value>(map: Map<string, Value>, key: string, value: Value, max: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > max && oldest !== undefined) map.delete(oldest);
}

async function recordOf({ job, number, folder, running }: FoundBuild): Promise<BuildRecord> {
  if (running) return running.record;
  return readRecord(folder).catch(() => {
    throw new ExchangeError("not-found", `the record of ${job}#${number} can't be read`);
  });
}

async function readRange(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

async function digestOf(file: FileHandle, size: number): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < size; ) {
    const bytes = await readRange(file, at, Math.min(pieceBytes, size - at));
    if (bytes.length === 0) break;
    hash.update(bytes);
    at += bytes.length;
  }
  return hash.digest("hex");
}
