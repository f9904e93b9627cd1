/** `recover` and `restore` of a device: what brings its board back after a build, or to a known image before one. */
import type { SchemaObject } from "ajv";
import type { At, Finding } from "../errors.ts";
import { kinds, matching, milliseconds } from "../kinds.ts";
import { type Mapping, mapping, texts } from "../merge.ts";

/** What brings the board back after a build has left it unable to pass its probe. */
export type RecoverStep =
  | { readonly kind: "reset" }
  | { readonly kind: "power" }
  /** A shell script on the host that flashes a known image; `lend`: it has the port to itself. */
  | { readonly kind: "flash"; readonly script: string; readonly lend: boolean; readonly timeoutMs: number };

export type FlashStep = Extract<RecoverStep, { kind: "flash" }>;

export interface FlashDocument {
  readonly flash: string;
  readonly lend?: boolean;
  readonly timeout?: string;
}

export type RecoverDocument = "reset" | "power" | FlashDocument;

const defaultTimeout = "5m";

const flash: SchemaObject = {
  flash: {
    type: "string",
    kind: kinds.script,
    description: "A shell script on the host that flashes a known image.",
  },
  lend: { type: "boolean", default: false, description: "Whether the script gets the port to itself." },
  timeout: {
    type: "string",
    kind: kinds.duration,
    default: defaultTimeout,
    description: "How long the script may take.",
  },
};

export const restoreSchema: SchemaObject = {
  type: "object",
  description:
    "Flashes a known image before a build of another trust than the last one's, so that nothing which a change left on the board meets a build of the lab's own.",
  additionalProperties: false,
  required: ["flash"],
  properties: flash,
};

export const recoverSchema: SchemaObject = {
  type: "array",
  minItems: 1,
  maxItems: 3,
  description:
    "What to do when the board can't be proved after a build, or its port stays away: reset, power, or flash with a script, one after the other until it passes its probe.",
  items: {
    type: ["string", "object"],
    kind: matching("reset, power, or flash with a script", /^(?:reset|power)$/),
    additionalProperties: false,
    required: ["flash"],
    properties: flash,
  },
};

export function checkRecover({ recover, reset, power }: Mapping, at: At): Finding[] {
  const commands = mapping(power);
  return texts(recover).flatMap(([index, step]) => {
    if (step === "reset" && reset === undefined) return [at("needs the option reset", "recover", index)];
    const isMissing = step === "power" && !("cycle" in commands || "off" in commands);
    return isMissing ? [at("needs power: on and off, or cycle", "recover", index)] : [];
  });
}

export function resolveRecover(step: RecoverDocument): RecoverStep {
  return typeof step === "string" ? { kind: step } : resolveFlash(step);
}

export function resolveFlash({ flash, lend, timeout }: FlashDocument): FlashStep {
  const timeoutMs = milliseconds(timeout ?? defaultTimeout);
  return { kind: "flash", script: flash, lend: lend ?? false, timeoutMs };
}
