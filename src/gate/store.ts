/**
 * What the gate has to know after a crash: each build with its owner and minutes, in STATE/builds/UUID.json, written before the build
 * is submitted, and the secret behind the keys of builds, in STATE/secret.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isObject } from "#/exchange/message.ts";
import { CodedError } from "#/lib/errors.ts";
import { replaceFileSync } from "#/lib/replace-file.ts";

/** All times are Unix milliseconds. */
export interface GateRecord {
  readonly version: 1;
  readonly uuid: string;
  /** Whose it is: see Caller. */
  readonly caller: string;
  /** The same for the audit log. */
  readonly who: Readonly<Record<string, string>>;
  readonly from: string;
  readonly rule: { readonly number: number; readonly id: string };
  readonly job: string;
  readonly node?: string;
  readonly server: string;
  readonly function: string;
  readonly priority: "high" | "normal" | "low";
  readonly parameters: Readonly<Record<string, string>>;
  readonly inputs: readonly { readonly name: string; readonly size: number; readonly sha256: string }[];
  /** The agents that may take it. */
  readonly managers: readonly string[];
  /** The private key by which the gate acts for the build, as PEM; of a lease empty. */
  readonly key: string;
  /** Of a lease. */
  readonly lease?: LeaseFacts;
  /** Digests of the caller's idempotency key, and of its request. */
  readonly idempotency?: string;
  readonly request: string;
  readonly created: number;
  readonly queueUntil: number;
  /** Of a lease: longer once it is extended. */
  runMs: number;
  reservedMinutes: number;
  readonly clientTimeoutMs?: number;
  /** Of the job server; from its answer on. */
  handle?: string;
  /** What the agent said first. */
  facts?: BuildFacts;
  started?: number;
  /** Why the gate stops it. */
  stopping?: StopReason;
  ended?: number;
  minutes?: number;
  result?: string;
  reason?: string;
  cause?: string;
}

export interface LeaseFacts {
  /** The holder's. */
  readonly publicKey: string;
  readonly reason: string;
  readonly who: string;
  /** When its time began. */
  begun?: number;
}

export interface BuildFacts {
  readonly manager: string;
  readonly name: string;
  readonly number: number;
  readonly node_name?: string;
  readonly url?: string;
}

export interface StopReason {
  readonly cause: "stopped" | "client-gone" | "queue" | "run" | "node";
  readonly reason: string;
}

class StoreError extends CodedError<"STORE"> {
  override readonly name = "StoreError";
}

const fileMode = 0o600;
const secretBytes = 32;

export class GateStore {
  readonly #folder: string;
  readonly #secret: Buffer;

  /** @throws StoreError */
  constructor(stateDir: string) {
    this.#folder = join(stateDir, "builds");
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      this.#secret = secretIn(join(stateDir, "secret"));
    } catch (cause) {
      throw new StoreError("STORE", `the state of the gate can't be used: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  /** With it a client may follow, feed and stop the build. It is valid for as long as the build is kept. */
  keyOf(uuid: string): string {
    return createHmac("sha256", this.#secret).update(`labgear-gate-build-1\n${uuid}`).digest("base64url");
  }

  isKeyOf(uuid: string, key: string): boolean {
    const digest = (text: string) => createHmac("sha256", this.#secret).update(text).digest();
    return timingSafeEqual(digest(this.keyOf(uuid)), digest(key));
  }

  /** It is on the disk when this returns. @throws the file system's error */
  write(record: GateRecord): void {
    replaceFileSync(this.#file(record.uuid), JSON.stringify(record), fileMode);
  }

  remove(uuid: string): void {
    rmSync(this.#file(uuid), { force: true });
  }

  /** @param warn called with what can't be read, which is set aside */
  load(warn: (text: string) => void): GateRecord[] {
    return readdirSync(this.#folder).flatMap((name) => {
      const file = join(this.#folder, name);
      // What a crash left of a write.
      if (name.includes(".new-")) rmSync(file, { force: true });
      if (!name.endsWith(".json")) return [];
      try {
        return [parse(readFileSync(file, "utf8"), name.slice(0, -".json".length))];
      } catch (error) {
        renameSync(file, `${file}.damaged`);
        warn(`${file} is damaged and set aside: ${(error as Error).message}`);
        return [];
      }
    });
  }

  #file(uuid: string): string {
    return join(this.#folder, `${uuid}.json`);
  }
}

function parse(text: string, uuid: string): GateRecord {
  const value: unknown = JSON.parse(text);
  const isSound =
    isObject(value) &&
    value.version === 1 &&
    value.uuid === uuid &&
    ["caller", "job", "server", "function", "key", "request"].every(
      (key) => typeof value[key] === "string",
    ) &&
    ["created", "queueUntil", "runMs", "reservedMinutes"].every((key) => typeof value[key] === "number") &&
    ["rule", "parameters", "who"].every((key) => isObject(value[key])) &&
    ["inputs", "managers"].every((key) => Array.isArray(value[key]));
  if (!isSound) throw new SyntaxError("it is no record of a build");
  return value as unknown as GateRecord;
}

/** Without it all keys of builds would be lost at each start. */
function secretIn(file: string): Buffer {
  if (!existsSync(file)) replaceFileSync(file, randomBytes(secretBytes).toString("hex"), fileMode);
  const secret = Buffer.from(readFileSync(file, "utf8").trim(), "hex");
  if (secret.length !== secretBytes)
    throw new Error(`${file} holds no secret of ${secretBytes} bytes: remove it for a new one`);
  return secret;
}
