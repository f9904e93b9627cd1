/** A job's `firmware`: an image is built and flashed, and the console's output gives the verdict. */
import type { SchemaObject } from "ajv";
import { type Kind, kinds, matching, milliseconds, pattern } from "../kinds.ts";

/** The harness that reads the verdict from the console's output. */
export type VerdictConfig = (
  | { readonly kind: "zephyr" | "unity" | "tap" }
  /** All of `pass` must match, in any order; one of `fail` is a failure. */
  | { readonly kind: "patterns"; readonly pass: readonly string[]; readonly fail: readonly string[] }
) & {
  /** What messages of crashes and reboots mean. Default: fail, and ignore with own patterns. */
  readonly faults?: "fail" | "ignore";
};

/** Text that is typed when the output matches, as for Unity's menu. */
export interface Answer {
  readonly pattern: string;
  readonly text: string;
  /** Followed by a line end. */
  readonly enter: boolean;
}

export interface FirmwareWork {
  readonly kind: "firmware";
  /** A host script that builds the image; if it fails, the job has failed. */
  readonly build?: string;
  /** A host script that flashes the image; if it fails, the board has failed. */
  readonly flash: string;
  readonly verdict: VerdictConfig;
  /** In this order, each once. */
  readonly answers: readonly Answer[];
  /** From the end of flashing to the verdict. */
  readonly timeoutMs: number;
  /** After a pass: what fails in this time makes it a failure. */
  readonly settleMs: number;
  /** Text that the new image prints, such as Zephyr's RunID; output before it is the previous image's. */
  readonly start?: string;
  /** Whether the flash script gets the port to itself while it runs. */
  readonly lend: boolean;
}

/** The section once it has passed the schema. */
export interface FirmwareDocument {
  readonly build?: string;
  readonly flash: string;
  readonly verdict:
    | "zephyr"
    | "unity"
    | "tap"
    | { readonly pass: string | readonly string[]; readonly fail?: string | readonly string[] };
  readonly faults?: "fail" | "ignore";
  readonly send?: readonly { readonly on: string; readonly text: string; readonly enter?: boolean }[];
  readonly timeout?: string;
  readonly settle?: string;
  readonly start?: string;
  readonly lend?: boolean;
}

const defaults = { timeout: "2m", settle: "500ms" };

const verdict: Kind = matching(
  "zephyr, unity, tap, or patterns of your own (pass, fail)",
  /^(?:zephyr|unity|tap)$/,
);
const answerText: Kind = { expected: "text", refuse: () => undefined };
const startText = matching("text of 1 to 1000 characters", /^.{1,1000}$/s);

function patterns(description: string): SchemaObject {
  const items = { type: "string", kind: pattern };
  return { type: ["string", "array"], kind: pattern, minItems: 1, maxItems: 100, items, description };
}

export const firmwareSchema: SchemaObject = {
  type: "object",
  description: "Builds and flashes an image, and reads from the console whether its tests passed.",
  additionalProperties: false,
  required: ["flash", "verdict"],
  properties: {
    build: {
      type: "string",
      kind: kinds.script,
      description: "A shell script on the host that builds the image. If it fails, the job has failed.",
    },
    flash: {
      type: "string",
      kind: kinds.script,
      description:
        "A shell script on the host that flashes the image. If it fails, the board has failed, not the job.",
    },
    verdict: {
      type: ["string", "object"],
      kind: verdict,
      description:
        "How the output shows the result: zephyr (ztest, twister), unity, tap, or patterns of your own.",
      additionalProperties: false,
      required: ["pass"],
      properties: {
        pass: patterns("The tests passed if this matches; of several, all must match, in any order."),
        fail: patterns("The tests failed if this matches, or one of several."),
      },
    },
    faults: {
      enum: ["fail", "ignore"],
      description:
        "What messages of crashes and restarts in the output mean: fail, or ignore. Default: fail with zephyr, unity and tap, ignore with patterns of your own.",
    },
    send: {
      type: "array",
      minItems: 1,
      maxItems: 100,
      description: "What to type when the output matches, one after the other, as for a menu of tests.",
      items: {
        type: "object",
        additionalProperties: false,
        required: ["on", "text"],
        properties: {
          on: { type: "string", kind: pattern, description: "The pattern to wait for." },
          text: { type: "string", kind: answerText, description: "The text to type." },
          enter: {
            type: "boolean",
            default: true,
            description: "Whether to press enter after the text.",
          },
        },
      },
    },
    timeout: {
      type: "string",
      kind: kinds.duration,
      default: defaults.timeout,
      description: "The time from the end of flashing to the verdict.",
    },
    settle: {
      type: "string",
      kind: kinds.durationOrZero,
      default: defaults.settle,
      description: "How long to read on after a pass: what fails in this time makes it a failure.",
    },
    start: {
      type: "string",
      kind: startText,
      description: "Text that only the new image prints. Output before it counts as the previous image's.",
    },
    lend: {
      type: "boolean",
      default: false,
      description:
        "Whether the flash script gets the port to itself, as tools such as esptool need. Otherwise the console is read while the board is flashed, and no early output is missed.",
    },
  },
};

export function resolveFirmware(document: FirmwareDocument): FirmwareWork {
  const { build, flash, verdict: harness, faults, send, timeout, settle, start, lend } = document;
  return {
    kind: "firmware",
    ...(build !== undefined && { build }),
    flash,
    verdict: {
      ...(typeof harness === "string"
        ? { kind: harness }
        : { kind: "patterns", pass: listed(harness.pass), fail: listed(harness.fail ?? []) }),
      ...(faults && { faults }),
    },
    answers: (send ?? []).map(({ on, text, enter }) => ({ pattern: on, text, enter: enter ?? true })),
    timeoutMs: milliseconds(timeout ?? defaults.timeout),
    settleMs: milliseconds(settle ?? defaults.settle),
    ...(start !== undefined && { start }),
    lend: lend ?? false,
  };
}

function listed(patterns: string | readonly string[]): readonly string[] {
  return typeof patterns === "string" ? [patterns] : patterns;
}
