/** Where a device's port is, as people write it: a path, tcp://HOST:PORT, rfc2217://HOST:PORT. */
import { formatAddress, parseAddress } from "#/lib/address.ts";
import type { PortAddress, PortMatch } from "../model.ts";

const byIdFolder = "/dev/serial/by-id/";

/**
 * @param text a device file's absolute path, or a console server's address
 * @returns undefined when it is neither
 */
export function parsePort(text: string): PortAddress | undefined {
  const [, kind, rest = ""] = /^(tcp|rfc2217):\/\/(.*?)\/?$/.exec(text) ?? [];
  if (kind === "tcp" || kind === "rfc2217") {
    const address = parseAddress(rest);
    return address && address.port > 0 ? { kind, ...address } : undefined;
  }
  return isDevicePath(text) ? { kind: "tty", match: { path: text } } : undefined;
}

/**
 * @returns whether a text is an absolute path, without ways around it, so that two texts can be compared. It needn't be in /dev:
 *   labs keep links to their boards' ports elsewhere as well
 */
export function isDevicePath(text: string): boolean {
  return /^(?:\/(?!\.{0,2}(?:\/|$))[^\p{C}/]+)+$/u.test(text);
}

/** @returns what a person would know the port by, for messages: the address, or each key that has to fit */
export function describePort(address: PortAddress): string {
  if (address.kind !== "tty") return `${address.kind}://${formatAddress(address)}`;
  return Object.entries(address.match)
    .map(([key, value]) => (key === "path" ? String(value) : `${key === "byId" ? "by-id" : key} ${value}`))
    .join(", ");
}

/**
 * @returns whether every port that fits the second address fits the first one too: a console server's, whatever is
 *   spoken with it, or a tty by fewer of the same keys
 */
export function covers(first: PortAddress, second: PortAddress): boolean {
  if (first.kind !== "tty" || second.kind !== "tty") {
    if (first.kind === "tty" || second.kind === "tty") return false;
    return formatAddress(first).toLowerCase() === formatAddress(second).toLowerCase();
  }
  const keys = comparable(second.match);
  return Object.entries(comparable(first.match)).every(
    ([key, value]) => keys[key as keyof PortMatch] === value,
  );
}

/** A path in by-id's folder is a by-id. */
function comparable(match: PortMatch): PortMatch {
  const { path, ...others } = match;
  if (!path?.startsWith(byIdFolder)) return match;
  const byId = path.slice(byIdFolder.length);
  return match.byId === undefined || match.byId === byId ? { ...others, byId } : match;
}
