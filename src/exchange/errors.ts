/** What can be wrong with a message, and how a refusal reaches its client. */
import { CodedError } from "#/lib/errors.ts";

const codes = [
  /** The message can't be understood. */
  "malformed",
  /** This manager has no such build. */
  "unknown-build",
  /** The build's job has no such input, or the client didn't announce it. */
  "unknown-input",
  /** The build takes no input at this moment: it has what it needs, or has ended. */
  "not-wanted",
  /** The build has no key, or the request no signature, and it needs one. */
  "unsigned",
  /** The signature isn't the build's. */
  "signature",
  /** The request's time is too far from the agent's clock: sign again with the answer's `time`. */
  "clock",
  /** The piece doesn't begin where the input goes on: send again from the answer's `offset`. */
  "offset",
  /** The piece goes beyond the size that the client announced. */
  "too-large",
  /** The build has nothing by this path. */
  "not-found",
  /** The box can't do it now, such as with a full disk. */
  "unavailable",
] as const;

export type ExchangeErrorCode = (typeof codes)[number];

export const errorCodes: ReadonlySet<string> = new Set(codes);

/** Facts of an error that the client goes on with. */
export interface ErrorFacts {
  /** The agent's clock, in Unix milliseconds. */
  readonly time?: number;
  /** Where the input goes on. */
  readonly offset?: number;
}

export class ExchangeError extends CodedError<ExchangeErrorCode> {
  override readonly name = "ExchangeError";
  readonly facts: ErrorFacts;

  constructor(code: ExchangeErrorCode, message: string, facts: ErrorFacts = {}) {
    super(code, message);
    this.facts = facts;
  }
}
