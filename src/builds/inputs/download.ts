/** Loads an input from a URL with curl(1), as the unprivileged user that fetches, and from nowhere but where the job says. */
import { randomUUID } from "node:crypto";
import { lookup } from "node:dns/promises";
import { mkdir } from "node:fs/promises";
import { BlockList, isIP } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { addressBytes } from "#/lib/subnet.ts";
import { shown } from "#/lib/text.ts";
import { formatSize } from "#/lib/units.ts";
import type { CommandTrees } from "../checkout/git.ts";
import { BuildError } from "../errors.ts";
import { removeTree } from "../workspace/remove.ts";
import type { Transfer } from "./transfer.ts";

/** Where an input may come from. */
export interface Origin {
  /** URLs, normalised: what is below one of them. */
  readonly from: readonly string[];
  /** Private networks in which their hosts may be. */
  readonly networks: readonly string[];
  readonly maxBytes: number;
}

export interface DownloadOptions {
  readonly trees: CommandTrees;
  /** A folder of the agent's own, in which those of the downloads are made. */
  readonly folder: string;
  readonly log: (line: string) => Promise<void>;
  readonly signal: AbortSignal;
}

const maxRedirects = 5;
const maxHeadBytes = 64 * 1024;
const pieceBytes = 256 * 1024;
/** curl(1), EXIT CODES: --max-filesize; and the shell's for a program that isn't there. */
const tooLargeCode = 63;
const missingCode = 127;

/**
 * Loads the URL, and what it redirects to, into the transfer, and finishes it.
 * @param sender whose transfer it is
 * @throws BuildError INPUT for a URL that isn't allowed or isn't there, INPUT_SOURCE for a server that fails
 */
export async function download(
  input: {
    readonly origin: Origin;
    readonly url: string;
    readonly transfer: Transfer;
    readonly sender: string;
  },
  options: DownloadOptions,
): Promise<void> {
  const { origin, transfer, sender } = input;
  let url = input.url;
  for (let redirects = 0; redirects <= maxRedirects; redirects++) {
    const allowed = checkUrl(url, origin);
    await options.log(`loading ${plainUrl(allowed)}`);
    const next = await load(allowed, await allowedAddress(allowed, origin), input, options);
    if (next === undefined) {
      await transfer.finish(sender);
      return;
    }
    url = URL.parse(next, allowed)?.href ?? next;
  }
  throw new BuildError("INPUT", `${plainUrl(new URL(input.url))} redirects more than ${maxRedirects} times`);
}

/** As it may be shown: what follows `?` can be a signature. */
export function plainUrl({ origin, pathname }: URL): string {
  return `${origin}${pathname}`;
}

/**
 * @returns the URL, normalised
 * @throws BuildError INPUT
 */
export function checkUrl(text: string, { from }: Pick<Origin, "from">): URL {
  const url = URL.parse(text);
  if (!url || !["http:", "https:"].includes(url.protocol))
    throw new BuildError("INPUT", `${shown(text)} is no http:// or https:// address`);
  if (url.username || url.password)
    throw new BuildError(
      "INPUT",
      `the URL ${plainUrl(url)} has a user name or a password, which everybody could see`,
    );
  // Some servers take an encoded dot or slash for a plain one, and so out of the folder.
  const isPlain = !/%2e|%2f|%5c/i.test(url.pathname);
  if (isPlain && from.some((base) => isBelow(url, new URL(base)))) return url;
  throw new BuildError("INPUT", `${plainUrl(url)} isn't below an address that the job takes this input from`);
}

function isBelow(url: URL, base: URL): boolean {
  if (url.origin !== base.origin) return false;
  const folder = base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`;
  return url.pathname === base.pathname || url.pathname.startsWith(folder);
}

/** Addresses that aren't on the public internet (IANA's special-purpose registries). */
const special = new BlockList();
for (const network of [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
  ...["192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"],
  ...["::/127", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "ff00::/8"],
])
  addNetwork(special, network);

/** A translator passes on to the IPv4 address at the end of these (RFC 6052, 2.1). */
const translated = new BlockList();
addNetwork(translated, "64:ff9b::/96");

/** @internal */
export function isSpecial(address: string): boolean {
  const family = familyOf(address);
  if (family === "ipv6" && translated.check(address, family))
    return special.check(addressBytes(address).slice(-4).join("."), "ipv4");
  return special.check(address, family);
}

function addNetwork(list: BlockList, network: string): void {
  const [address = "", bits] = network.split("/");
  list.addSubnet(address, Number(bits), familyOf(address));
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 6 ? "ipv6" : "ipv4";
}

/**
 * The address that is connected to: the one that was checked, whatever the name means later.
 * @throws BuildError INPUT or INPUT_SOURCE
 */
async function allowedAddress({ hostname }: URL, { networks }: Origin): Promise<string> {
  const host = hostname.replace(/^\[|\]$/g, "");
  const found = await lookup(host, { all: true }).catch((error: NodeJS.ErrnoException) => {
    throw new BuildError("INPUT_SOURCE", `the host ${host} can't be found: ${error.code}`);
  });
  const listed = new BlockList();
  for (const network of networks) addNetwork(listed, network);
  const isAllowed = (address: string) => !isSpecial(address) || listed.check(address, familyOf(address));
  const refused = found.find(({ address }) => !isAllowed(address));
  if (refused) {
    const advice = "the job's list must name its network";
    throw new BuildError("INPUT", `the host ${host} has the private address ${refused.address}: ${advice}`);
  }
  return found[0]?.address ?? host;
}

/** The script's answer comes on standard output, head and body; what curl says about a failure on standard error. */
const script = `
command -v curl >/dev/null || exit 127
exec curl --disable --silent --show-error --include --http1.1 --globoff --noproxy '*' --proto =http,https \\
  --suppress-connect-headers --connect-timeout 30 --speed-limit 1 --speed-time 60 --max-filesize "$1" --resolve "$2" \\
  --output - --url "$3"
`;

/** @returns where it redirects to; undefined: everything is in the transfer */
async function load(
  url: URL,
  address: string,
  { origin, transfer, sender }: Parameters<typeof download>[0],
  { trees, folder, signal }: DownloadOptions,
): Promise<string | undefined> {
  const place = join(folder, randomUUID());
  await mkdir(place, { recursive: true });
  await using _ = { [Symbol.asyncDispose]: () => removeTree(place) };
  await using tree = await trees.create("download", {}, place, "fetch");
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const pinned = `${url.hostname.replace(/^\[|\]$/g, "")}:${port}:${address.includes(":") ? `[${address}]` : address}`;
  const argv = ["/bin/sh", "-c", script, "labgear-download", `${origin.maxBytes}`, pinned, url.href] as const;
  signal.throwIfAborted();
  const env = { PATH: process.env.PATH ?? "/usr/bin:/bin" };
  const child = await tree.run({ argv, cwd: place, env });
  const complaint = endOf(child.stderr);
  const end = () => void tree.kill();
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  try {
    const next = await take(child.stdout, async (bytes, offset) => {
      const name = plainUrl(url);
      if (offset + bytes.length > origin.maxBytes)
        throw new BuildError(
          "INPUT",
          `${name} has more than the ${formatSize(origin.maxBytes)} that the job takes`,
        );
      const { kind } = await transfer.append(sender, offset, bytes);
      if (kind === "over") throw new BuildError("INPUT", `${name} is longer than announced`);
    });
    const { code, unstarted } = await child.ended;
    signal.throwIfAborted();
    if (code !== 0) throw failure(url, code, unstarted ? String(unstarted) : await complaint, origin);
    if (next.status >= 300 && next.status < 400 && next.location !== undefined) return next.location;
    if (next.status === 200) return undefined;
    const isClients = next.status >= 400 && next.status < 500 && ![408, 425, 429].includes(next.status);
    throw new BuildError(
      isClients ? "INPUT" : "INPUT_SOURCE",
      `${plainUrl(url)} answers with HTTP ${next.status}`,
    );
  } finally {
    signal.removeEventListener("abort", end);
    await tree.kill();
    await child.ended;
  }
}

function failure(url: URL, code: number | null, output: string, { maxBytes }: Origin): BuildError {
  const name = plainUrl(url);
  if (code === tooLargeCode)
    return new BuildError("INPUT", `${name} has more than the ${formatSize(maxBytes)} that the job takes`);
  if (code === missingCode) return new BuildError("INPUT_SOURCE", "curl is missing on this box: install it");
  const said =
    output
      .trim()
      .split("\n")
      .at(-1)
      ?.replace(/^curl: /, "") ?? "";
  return new BuildError("INPUT_SOURCE", `${name} can't be loaded: ${shown(said, 200)}`);
}

/** The end of what a stream has. */
async function endOf(stream: Readable): Promise<string> {
  let text = "";
  try {
    for await (const chunk of stream) text = (text + String(chunk)).slice(-maxHeadBytes);
  } catch {
    // What came by then counts.
  }
  return text;
}

interface Head {
  readonly status: number;
  readonly location?: string;
}

/** Reads an HTTP/1.1 answer: the body of a 200 goes on in pieces; of any other nothing. */
async function take(
  stream: Readable,
  onBody: (bytes: Buffer, offset: number) => Promise<void>,
): Promise<Head> {
  let head: Head | undefined;
  let pending: Buffer[] = [];
  let length = 0;
  let offset = 0;
  const flush = async () => {
    const bytes = Buffer.concat(pending);
    pending = [];
    length = 0;
    if (head?.status !== 200 || bytes.length === 0) return;
    await onBody(bytes, offset);
    offset += bytes.length;
  };
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    pending.push(chunk);
    length += chunk.length;
    while (!head) {
      const bytes = Buffer.concat(pending);
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0 && length > maxHeadBytes)
        throw new BuildError("INPUT_SOURCE", "the server's answer has no end of its head");
      if (end < 0) break;
      const found = parseHead(bytes.subarray(0, end).toString("latin1"));
      // 100 Continue and its like are followed by the answer.
      if (found.status >= 200) head = found;
      pending = [bytes.subarray(end + 4)];
      length = pending[0]?.length ?? 0;
    }
    if (head && length >= pieceBytes) await flush();
  }
  await flush();
  return head ?? { status: 0 };
}

function parseHead(text: string): Head {
  const [first = "", ...lines] = text.split("\r\n");
  const status = Number(/^HTTP\/1\.[01] ([0-9]{3})(?: |$)/.exec(first)?.[1] ?? 0);
  const location = lines
    .map((line) => /^location:[ \t]*(.*?)[ \t]*$/i.exec(line)?.[1])
    .find((found) => found);
  return { status, ...(location !== undefined && { location }) };
}
