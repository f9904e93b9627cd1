/** `secrets` of a job: what its builds need that only the lab may know. */
import { join } from "node:path";
import type { SchemaObject } from "ajv";
import { isOwnVariable, isVariableName } from "#/lib/environment.ts";
import { shown } from "#/lib/text.ts";
import type { At, Finding } from "../errors.ts";
import { type Kind, kinds, matching } from "../kinds.ts";
import { entries, type Mapping, texts } from "../merge.ts";
import { checkSecret, type ResolveFile } from "../named-files.ts";
import { trustOf } from "./trust.ts";

export interface SecretConfig {
  /** Of the file in $LABGEAR_SECRETS, or of the variable. */
  readonly name: string;
  /** What has it; read for each build. */
  readonly file: string;
  /** Whether builds get it as a variable, not as a file. */
  readonly env: boolean;
}

export type SecretsDocument = Readonly<
  Record<string, { readonly file?: string; readonly credential?: string; readonly env?: boolean }>
>;

const secretName: Kind = {
  expected: "the name of an environment variable",
  refuse: (name) => {
    if (/^.{101}/.test(name)) return `${shown(name)} is longer than 100 characters`;
    if (!isVariableName(name))
      return `${shown(name)} can't name a variable: use letters, digits and _, and no digit first`;
    return isOwnVariable(name) || baseVariables.test(name)
      ? `${shown(name)} is set by labgear itself`
      : undefined;
  },
};
const baseVariables = /^(PATH|HOME|USER|LOGNAME|SHELL|LANG)$/;
/** systemd.exec(5), LoadCredential=: a name is that of a file. */
const credential = matching("the name of a systemd credential", /^(?!\.{1,2}$)[A-Za-z0-9_.@:-]{1,255}$/);

export const secretsSchema: SchemaObject = {
  type: "object",
  description:
    "What builds need and nobody else may see, by name: a file in $LABGEAR_SECRETS, or a variable. It is masked in consoles.",
  maxProperties: 20,
  propertyNames: { kind: secretName },
  additionalProperties: {
    type: "object",
    additionalProperties: false,
    properties: {
      file: {
        type: "string",
        kind: kinds.file,
        description: "The file with the secret; a relative name starts at the folder of this file.",
      },
      credential: {
        type: "string",
        kind: credential,
        description: "The systemd credential with the secret, as the unit's LoadCredential= names it.",
      },
      env: {
        type: "boolean",
        default: false,
        description: "Whether builds get it as a variable, not as a file.",
      },
    },
  },
};

/** @param onDevices names and classes of all devices */
export function checkSecrets(
  job: Mapping,
  onDevices: ReadonlySet<string>,
  at: At,
  resolveFile: ResolveFile,
): Finding[] {
  if (!("secrets" in job)) return [];
  const { path } = at("", "secrets");
  const files = entries(job.secrets).flatMap(([name, secret]): Finding[] => {
    const found = ["file", "credential"].filter((key) => key in secret);
    if (found.length !== 1)
      return [
        at(
          `expected either file or credential, found ${found.length === 0 ? "neither" : "both"}`,
          "secrets",
          name,
        ),
      ];
    // The commands that look at a configuration have no credentials.
    const folder = process.env.CREDENTIALS_DIRECTORY;
    const isVariable = secret.env === true;
    if ("file" in secret) return checkSecret([...path, name, "file"], secret.file, resolveFile, isVariable);
    if (folder === undefined || typeof secret.credential !== "string") return [];
    const file = join(folder, secret.credential);
    return checkSecret([...path, name, "credential"], file, (_, absolute) => absolute, isVariable);
  });
  return [...refusals(job, onDevices).map((message) => at(message, "secrets")), ...files];
}

function refusals(job: Mapping, onDevices: ReadonlySet<string>): string[] {
  const board = texts(job.nodes).find(([, node]) => onDevices.has(node))?.[1];
  if (!("run" in job) || board !== undefined) {
    const what = board === undefined ? "a job on a board" : `a job that may run on the board ${shown(board)}`;
    return [`can't go to ${what}: what is typed on a board stays in captures and on the board`];
  }
  if (job.checkout === true)
    return ["can't go to a job with checkout: the change decides what runs, and could send them anywhere"];
  if (trustOf(job) === "changes")
    return [
      job.trust === "changes"
        ? "can't go to a job with trust: changes, which could send them anywhere"
        : "can't go to a job that runs a script of its workspace; if no change can write that, say trust: lab",
    ];
  return [];
}

export function resolveSecrets(
  job: string,
  secrets: SecretsDocument,
  resolveFile: ResolveFile,
): SecretConfig[] {
  return Object.entries(secrets).map(([name, { file, credential = "", env = false }]) => ({
    name,
    file:
      file === undefined
        ? join(process.env.CREDENTIALS_DIRECTORY ?? "/run/credentials/labgear.service", credential)
        : resolveFile(["jobs", job, "secrets", name, "file"], file),
    env,
  }));
}
