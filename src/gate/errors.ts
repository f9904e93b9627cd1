/** Why the gate refuses a request: a word and a status for the caller, and a line for the log that may say more. */
import { CodedError } from "#/lib/errors.ts";

const statuses = {
  /** The request can't be understood. */
  malformed: 400,
  /** The token isn't accepted. The caller learns no more. */
  unauthenticated: 401,
  /** No rule allows it. */
  forbidden: 403,
  /** There is no such build, or the key isn't its. */
  "not-found": 404,
  /** It doesn't go with what the build is doing now. */
  conflict: 409,
  "length-required": 411,
  "too-large": 413,
  /** It is spoken over a WebSocket. */
  "upgrade-required": 426,
  /** Too many builds, minutes, or requests: later. */
  busy: 429,
  /** No node runs such a job now. */
  "not-offered": 503,
  /** The lab can't do it now. */
  unavailable: 503,
} as const;

export type RefusalCode = keyof typeof statuses;

export class Refusal extends CodedError<RefusalCode> {
  override readonly name = "Refusal";
  /** For the log and the audit log. */
  readonly why: string;
  /** What the caller goes on with, such as an input's offset. */
  readonly facts: Readonly<Record<string, number | string>>;
  /** Who was refused, and by which rule, where that is known. */
  by: Readonly<Record<string, unknown>> = {};

  /**
   * @param message what the caller reads
   * @param why what the operator reads; default: the same
   */
  constructor(
    code: RefusalCode,
    message: string,
    { why = message, facts = {} }: { why?: string; facts?: Readonly<Record<string, number | string>> } = {},
  ) {
    super(code, message);
    this.why = why;
    this.facts = facts;
  }

  get status(): (typeof statuses)[RefusalCode] {
    return statuses[this.code];
  }
}
