/** `login` of a device: how to get from a Linux board's prompts to a shell. */
import type { SchemaObject } from "ajv";
import type { Finding } from "../errors.ts";
import { kinds, matching, pattern } from "../kinds.ts";
import { type Mapping, mapping } from "../merge.ts";
import { checkPassword, type ResolveFile } from "../named-files.ts";

export interface LoginDocument {
  readonly user: string;
  readonly "password-file"?: string;
  /** Patterns for the board's own prompts, besides the usual ones. */
  readonly prompts?: { readonly login?: string; readonly password?: string };
  /** Answers to what else the board asks before its shell. */
  readonly then?: readonly { readonly expect: string; readonly send: string }[];
}

export type LoginConfig = Pick<LoginDocument, "user" | "prompts"> & {
  readonly passwordFile?: string;
  readonly answers?: NonNullable<LoginDocument["then"]>;
};

const answer = matching("an answer on one line", /^[^\p{Cc}]{0,200}$/u);
/** As a literal key of an object, it would look like a promise's. */
const answersOption = "then";

const answers: SchemaObject = {
  type: "array",
  minItems: 1,
  maxItems: 20,
  description: "Answers to what else the board asks before its shell, in any order.",
  items: {
    type: "object",
    additionalProperties: false,
    required: ["expect", "send"],
    properties: {
      expect: { type: "string", kind: pattern, description: "A pattern for the question." },
      send: { type: "string", kind: answer, description: "The answer; enter follows." },
    },
  },
};

export const loginSchema: SchemaObject = {
  type: "object",
  description: "How to log in on a linux console. Default: a shell answers without a login.",
  additionalProperties: false,
  required: ["user"],
  properties: {
    user: { type: "string", kind: kinds.user, description: "The user that logs in." },
    "password-file": {
      type: "string",
      kind: kinds.file,
      description:
        "The file with the password; a relative name starts at the folder of this file. Default: the board asks for no password.",
    },
    prompts: {
      type: "object",
      description:
        "Patterns for the board's prompts where they aren't usual ones. Those of the usual distributions are known in many languages.",
      additionalProperties: false,
      minProperties: 1,
      properties: {
        login: { type: "string", kind: pattern, description: "Asks for the user's name." },
        password: { type: "string", kind: pattern, description: "Asks for the password." },
      },
    },
    [answersOption]: answers,
  },
};

const passwordFile = (device: string) => ["devices", device, "login", "password-file"];

export function checkLogin(device: string, { login }: Mapping, resolveFile: ResolveFile): Finding[] {
  return checkPassword(passwordFile(device), mapping(login)["password-file"], resolveFile);
}

export function resolveLogin(
  device: string,
  { user, "password-file": file, prompts, then: answers }: LoginDocument,
  resolveFile: ResolveFile,
): LoginConfig {
  return {
    user,
    ...(file !== undefined && { passwordFile: resolveFile(passwordFile(device), file) }),
    ...(prompts && { prompts }),
    ...(answers && { answers }),
  };
}
