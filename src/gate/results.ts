/** What a build has left at its agent, fetched by the gate with the build's key. */
import { ManagerCalls } from "#/client/calls.ts";
import { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { type Fetched, formatFetch, parseFetched } from "#/exchange/fetch.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import { BuildKey } from "#/exchange/key.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { Refusal } from "./errors.ts";
import type { GateRecord } from "./store.ts";

/** Of what is read into memory: records. */
const maxTextBytes = 8 * 1024 * 1024;

export class Results implements AsyncDisposable {
  readonly #calls: ManagerCalls;
  readonly #signer: Signer;
  readonly #uuid: string;

  constructor(server: ServerAddress, { key, uuid }: Pick<GateRecord, "key" | "uuid">) {
    this.#calls = new ManagerCalls(server);
    this.#signer = new Signer(BuildKey.import(key));
    this.#uuid = uuid;
  }

  /** @throws ExchangeError, GearmanError */
  async piece(manager: string, path: string, offset: number, length = maxPieceBytes): Promise<Fetched> {
    const build = { uuid: this.#uuid };
    return await this.#signer.signed(async (time) => {
      const request = formatFetch({ build, path, offset, length }, { key: this.#signer.key, time });
      const fetched = parseFetched(await this.#calls.call(fetchFunction(manager), request));
      if (fetched.offset !== offset || fetched.bytes.length > length)
        throw new ExchangeError("malformed", `${manager} answers with another part of ${path}`);
      return fetched;
    });
  }

  /** A small whole. */
  async text(manager: string, path: string): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let offset = 0; ; ) {
      const { bytes, size, end } = await this.piece(manager, path, offset);
      if (size > maxTextBytes) throw new ExchangeError("malformed", `${path} is too large`);
      pieces.push(bytes);
      offset += bytes.length;
      if (end || bytes.length === 0) return Buffer.concat(pieces);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls[Symbol.asyncDispose]();
  }
}

/** An agent's refusal as the gate's. */
export function refusalOf(error: ExchangeError): Refusal {
  switch (error.code) {
    case "not-found":
    case "unknown-build":
    case "unknown-input":
      return new Refusal("not-found", error.message);
    case "not-wanted":
      return new Refusal("conflict", error.message);
    case "offset":
      return new Refusal("conflict", error.message, { facts: { offset: error.facts.offset ?? 0 } });
    case "too-large":
      return new Refusal("too-large", error.message);
    default:
      return new Refusal("unavailable", "the lab can't do it now", { why: error.message });
  }
}
