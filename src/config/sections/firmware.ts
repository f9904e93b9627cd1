/** The JSON schema of a job's `firmware`: an image is flashed, and the console's output says whether it passed. */
import type { SchemaObject } from "ajv";
import { defaults } from "../defaults.ts";

/** The section's type once it has passed the schema. */
export interface FirmwareDocument {
  readonly build?: string;
  readonly flash: string;
  readonly verdict: "zephyr" | "unity" | "tap" | { readonly pass: string; readonly fail?: string };
  readonly timeout?: string;
  readonly start?: string;
  readonly lend?: boolean;
}

export const firmwareSchema: SchemaObject = {
  type: "object",
  description: "Makes and flashes an image, and reads from the console whether it passed.",
  additionalProperties: false,
  required: ["flash", "verdict"],
  properties: {
    build: {
      type: "string",
      kind: "script",
      description: "A shell script on the host that makes the image: when it fails, the job has failed.",
    },
    flash: {
      type: "string",
      kind: "script",
      description:
        "A shell script on the host that flashes the image: when it fails, the board has failed, not the job.",
    },
    verdict: {
      type: ["string", "object"],
      kind: "verdict",
      description:
        "How the output says whether it passed: zephyr (ztest, twister), unity, tap, or patterns of your own.",
      additionalProperties: false,
      required: ["pass"],
      properties: {
        pass: { type: "string", kind: "pattern", description: "A pattern that says it passed." },
        fail: { type: "string", kind: "pattern", description: "A pattern that says it failed." },
      },
    },
    timeout: {
      type: "string",
      kind: "duration",
      default: defaults.verdictTimeout,
      description: "How long the image may take from the flash's end to the verdict.",
    },
    start: {
      type: "string",
      kind: "some-text",
      description: "A text that the new image prints: what comes before it is the last image's.",
    },
    lend: {
      type: "boolean",
      default: false,
      description:
        "Hands the port over to the flash script, for tools that flash through it, such as esptool. Otherwise the console is read while it flashes, and no early output is missed.",
    },
  },
};
