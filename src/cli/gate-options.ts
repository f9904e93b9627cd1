/** The option that names a gate, in place of a job server, and the token for it. */
import { readFile } from "node:fs/promises";
import { type Command, Option } from "commander";
import { type GateBuild, GateClient, GateRefusal } from "#/client/gate.ts";
import { isLine } from "#/exchange/message.ts";
import { isLoopback } from "#/lib/address.ts";
import { replaceFileSync } from "#/lib/replace-file.ts";
import { shown } from "#/lib/text.ts";
import { CommandError, type exitCodes } from "./exit.ts";

export interface GateOptions {
  readonly gate?: string;
  readonly tlsCa?: string;
}

export function withGate(command: Command): Command {
  return command.option(
    "--gate <url>",
    "through a lab's gate, in place of a job server (default: LABGEAR_GATE); the token comes from LABGEAR_TOKEN, or from GitHub where it runs",
  );
}

/** For a command that no gate offers. @param why the way that there is */
export function withoutGate(command: Command, why: string): Command {
  const refuse = () => {
    throw new CommandError("usage", why);
  };
  return command.addOption(new Option("--gate <url>").hideHelp().argParser(refuse));
}

/** @returns undefined: a job server is meant. @throws CommandError usage */
export async function findGate(
  options: GateOptions & { readonly server?: unknown; readonly config?: string },
): Promise<GateClient | undefined> {
  const isServer = options.server !== undefined || options.config !== undefined;
  if (options.gate !== undefined && isServer)
    throw new CommandError("usage", "--gate takes the place of --server and --config");
  const text = options.gate ?? (isServer ? undefined : process.env.LABGEAR_GATE);
  if (!text) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !["https:", "http:"].includes(url.protocol) || url.username || url.search)
    throw new CommandError("usage", `--gate: expected an https:// address, found ${shown(text)}`);
  if (url.protocol === "http:" && !isLoopback(url.hostname.replace(/^\[|\]$/g, "")))
    throw new CommandError("usage", "--gate: http:// would send the token in plain text: use https://");
  const { tlsCa } = options;
  const ca =
    tlsCa === undefined
      ? undefined
      : await readFile(tlsCa).catch((cause: Error) => {
          throw new CommandError("usage", `the TLS file ${tlsCa} can't be read: ${cause.message}`, { cause });
        });
  return new GateClient({ url, ...(ca && { ca }), token: () => findToken(url) });
}

/** @throws CommandError for what the gate refuses */
export function asRefused(error: unknown): never {
  if (error instanceof GateRefusal) throw refusalError(error);
  throw error;
}

/** What a refusal means for a command. */
function refusalError(error: GateRefusal): CommandError {
  const codes: Record<string, keyof typeof exitCodes> = {
    ...{ "not-offered": "notRegistered", unavailable: "noServer", "not-found": "failure", busy: "failure" },
  };
  return new CommandError(codes[error.code] ?? "usage", error.message, { cause: error });
}

const tokenTimeoutMs = 20_000;

/**
 * LABGEAR_TOKEN, or a token of GitHub's for the gate's name.
 * Source: "OpenID Connect reference" of GitHub's documentation, Methods for requesting the OIDC token.
 */
async function findToken({ hostname }: URL): Promise<string> {
  const {
    LABGEAR_TOKEN: own,
    ACTIONS_ID_TOKEN_REQUEST_URL: url,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: token,
  } = process.env;
  if (own) {
    if (/^[\x21-\x7e]+$/.test(own.trim())) return own.trim();
    throw new CommandError(
      "usage",
      "LABGEAR_TOKEN is no token: it has spaces, line breaks or the like inside",
    );
  }
  if (!url || !token) {
    const github =
      process.env.GITHUB_ACTIONS === "true"
        ? "; on GitHub the job needs permissions: { id-token: write }"
        : "";
    throw new CommandError("usage", `the gate needs a token in LABGEAR_TOKEN${github}`);
  }
  const address = new URL(url);
  address.searchParams.set("audience", process.env.LABGEAR_AUDIENCE || hostname);
  try {
    const response = await fetch(address, {
      headers: { authorization: `bearer ${token}`, accept: "application/json" },
      signal: AbortSignal.timeout(tokenTimeoutMs),
    });
    const { value } = (await response.json()) as { readonly value?: unknown };
    if (typeof value === "string" && value !== "") return value;
    throw new Error(`it answers with ${response.status}`);
  } catch (cause) {
    throw new CommandError("noServer", `GitHub gives no token: ${(cause as Error).message}`, { cause });
  }
}

/** Keeps the key of a build behind a gate for later commands. @throws CommandError failure */
export function keepBuild(file: string, build: GateBuild): void {
  try {
    replaceFileSync(file, `${JSON.stringify(build)}\n`, 0o600);
  } catch (cause) {
    throw new CommandError("failure", `the build's key can't be written: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** What `labgear build --gate … --key FILE` wrote. @throws CommandError usage */
export async function readBuild(file: string | undefined, uuid: string): Promise<GateBuild> {
  if (file === undefined)
    throw new CommandError(
      "usage",
      "with --gate the build's key is needed: --key FILE, as `labgear build --key` wrote it",
    );
  try {
    const build = JSON.parse(await readFile(file, "utf8"));
    if (!isLine(build.uuid, 64) || !isLine(build.key, 255)) throw new Error("it has no uuid and key");
    if (build.uuid !== uuid) throw new Error(`it is the key of the build ${shown(build.uuid)}`);
    return { uuid, key: build.key };
  } catch (cause) {
    throw new CommandError("usage", `--key ${file}: ${(cause as Error).message}`, { cause });
  }
}
