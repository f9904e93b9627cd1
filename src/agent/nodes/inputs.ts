/**
 * The inputs of a build: what its client announces is checked against the job, what isn't in the cache is asked for in the
 * build's data and arrives by `send:`, and the job gets copies that it can't mix up with the cache.
 */
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Build } from "#/builds/build.ts";
import type { CommandTrees } from "#/builds/checkout/git.ts";
import { BuildError } from "#/builds/errors.ts";
import type { InputCache } from "#/builds/inputs/cache.ts";
import { checkUrl, plainUrl } from "#/builds/inputs/download.ts";
import { removeTree } from "#/builds/workspace/remove.ts";
import type { InputsConfig } from "#/config/model.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { type AnnouncedInput, inputVariable, parseInputs } from "#/exchange/inputs.ts";
import type { Piece } from "#/exchange/send.ts";
import { buildFolder } from "#/lib/job-folder.ts";
import { formatSize } from "#/lib/units.ts";
import { type InputRequest, Reception } from "./reception.ts";

/** What a build has while it lasts. */
export interface BuildInputs extends AsyncDisposable {
  readonly variables: Readonly<Record<string, string>>;
  /** To be given to the build's user. */
  readonly files: readonly string[];
}

/** The inputs of all builds. */
export class Inputs {
  readonly #cache: InputCache;
  readonly #config: () => InputsConfig;
  readonly #trees: CommandTrees;
  readonly #receptions = new Map<Build, Reception>();

  constructor(cache: InputCache, config: () => InputsConfig, trees: CommandTrees) {
    this.#cache = cache;
    this.#config = config;
    this.#trees = trees;
  }

  /**
   * Takes a piece that is known to be its client's.
   * @returns how much of the input is here
   * @throws ExchangeError
   */
  async take(build: Build, piece: Piece): Promise<number> {
    const reception = this.#receptions.get(build);
    if (!reception) throw new ExchangeError("not-wanted", `${build.title} waits for no input`);
    return reception.take(piece);
  }

  /**
   * Resolves when all inputs of a build are there, and keeps them until it is disposed of.
   * @throws BuildError INPUT or INPUT_SOURCE, the file system's error, or the reason of the build's signal
   */
  async receive(request: InputRequest): Promise<BuildInputs> {
    const announced = checkAnnounced(request);
    if (announced.length === 0) return { variables: {}, files: [], [Symbol.asyncDispose]: async () => {} };
    await using resources = new AsyncDisposableStack();
    const { build } = request;
    for (const { sha256 } of announced) resources.use(this.#cache.pin(sha256));
    const parts = { cache: this.#cache, config: this.#config(), trees: this.#trees };
    const reception = resources.use(new Reception(request, announced, parts));
    this.#receptions.set(build, reception);
    try {
      await reception.all();
    } finally {
      this.#receptions.delete(build);
    }
    const folder = join(this.#cache.buildsFolder, buildFolder(build.record));
    resources.defer(() => removeTree(folder));
    await mkdir(folder, { recursive: true });
    await chmod(this.#cache.buildsFolder, 0o711);
    await chmod(folder, 0o755);
    const files = new Map<string, string>();
    for (const { name, sha256 } of announced) {
      const file = join(folder, name);
      await this.#cache.copy(sha256, file);
      files.set(name, file);
    }
    build.record.inputs = announced.map(({ name, sha256, url }) => ({
      ...{ name, size: this.#cache.sizeOf(sha256) ?? 0, sha256 },
      ...(url !== undefined && { url: plainUrl(new URL(url)) }),
    }));
    const kept = resources.move();
    return {
      variables: Object.fromEntries([...files].map(([name, file]) => [inputVariable(name), file])),
      files: [...files.values()],
      [Symbol.asyncDispose]: async () => {
        await kept.disposeAsync();
        // What can't be removed now takes space until the next build ends.
        await this.#cache.prune().catch(() => {});
      },
    };
  }
}

/**
 * What the client announces, if the job takes it.
 * @throws BuildError INPUT
 */
function checkAnnounced({ job, parameters }: InputRequest): AnnouncedInput[] {
  let announced: AnnouncedInput[];
  try {
    announced = parseInputs(parameters);
  } catch (error) {
    throw new BuildError("INPUT", (error as Error).message);
  }
  for (const { name, size, url } of announced) {
    const config = job.inputs.find((input) => input.name === name);
    if (!config) {
      const takes = job.inputs.map((input) => input.name).join(", ") || "none";
      throw new BuildError("INPUT", `the job takes no input ${name}; it takes ${takes}`);
    }
    if (size !== undefined && size > config.maxBytes) {
      const sizes = `${formatSize(size)}, and the job takes ${formatSize(config.maxBytes)} at most`;
      throw new BuildError("INPUT", `the input ${name} is too large: it has ${sizes}`);
    }
    if (url !== undefined && config.from.length === 0)
      throw new BuildError("INPUT", `the job takes the input ${name} from no URL`);
    if (url !== undefined) checkUrl(url, config);
  }
  const missing = job.inputs.find(
    ({ name, optional }) => !optional && !announced.some((input) => input.name === name),
  );
  if (missing)
    throw new BuildError(
      "INPUT",
      `the job needs the input ${missing.name}, and the client announced none: send it with --file ${missing.name}=PATH`,
    );
  return announced;
}
