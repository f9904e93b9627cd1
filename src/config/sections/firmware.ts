/** A job's `firmware`: an image is built and flashed, and the console's output gives the verdict. */
import type { SchemaObject } from "ajv";
import { type Kind, kinds, matching, milliseconds } from "../kinds.ts";
import { pattern } from "../pattern.ts";

/** The harness that reads the verdict from the console's output. */
export type VerdictConfig =
  | { readonly kind: "zephyr" | "unity" | "tap" }
  | { readonly kind: "patterns"; readonly pass: string; readonly fail?: string };

export interface FirmwareWork {
  readonly kind: "firmware";
  /** A host script that builds the image; if it fails, the job has failed. */
  readonly build?: string;
  /** A host script that flashes the image; if it fails, the board has failed. */
  readonly flash: string;
  readonly verdict: VerdictConfig;
  /** From the end of flashing to the verdict. */
  readonly timeoutMs: number;
  /** Text that the new image prints, such as Zephyr's RunID; output before it is the previous image's. */
  readonly start?: string;
  /** Whether the flash script gets the port to itself while it runs. */
  readonly lend: boolean;
}

/** The section once it has passed the schema. */
export interface FirmwareDocument {
  readonly build?: string;
  readonly flash: string;
  readonly verdict: "zephyr" | "unity" | "tap" | { readonly pass: string; readonly fail?: string };
  readonly timeout?: string;
  readonly start?: string;
  readonly lend?: boolean;
}

const defaultTimeout = "2m";

const verdict: Kind = matching(
  "zephyr, unity, tap, or patterns of your own (pass, fail)",
  /^(?:zephyr|unity|tap)$/,
);
const startText = matching("text of 1 to 1000 characters", /^.{1,1000}$/s);

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
        pass: { type: "string", kind: pattern, description: "The tests passed if this matches." },
        fail: { type: "string", kind: pattern, description: "The tests failed if this matches." },
      },
    },
    timeout: {
      type: "string",
      kind: kinds.duration,
      default: defaultTimeout,
      description: "The time from the end of flashing to the verdict.",
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
  const { build, flash, verdict: harness, timeout, start, lend } = document;
  return {
    kind: "firmware",
    ...(build !== undefined && { build }),
    flash,
    verdict: typeof harness === "string" ? { kind: harness } : { kind: "patterns", ...harness },
    timeoutMs: milliseconds(timeout ?? defaultTimeout),
    ...(start !== undefined && { start }),
    lend: lend ?? false,
  };
}
