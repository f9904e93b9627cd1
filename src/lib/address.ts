/** Network addresses as people write them: HOST, HOST:PORT, [IPV6]:PORT. */
import { isIPv4, isIPv6 } from "node:net";

export interface Address {
  /** A name or an address; IPv6 without its brackets. */
  readonly host: string;
  readonly port: number;
}

/** RFC 1123 labels, and the underscore that real networks have. */
const hostName =
  /^(?!.{254})[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/;

/**
 * @param text HOST, HOST:PORT, [IPV6] or [IPV6]:PORT
 * @param defaultPort for a text without one; undefined: the port must be there
 * @returns the parts; undefined when it is no such thing. Port 0 comes back as it is: the caller knows whether it may be.
 */
export function parseAddress(text: string, defaultPort?: number): Address | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port === undefined || port > 65_535) return undefined;
  const isHost = match?.[1] === undefined ? isHostName(host) : isIPv6(host);
  return isHost ? { host, port } : undefined;
}

/** Four numbers that are no IPv4 address (300.1.1.1) are a slip of the pen, not a name. */
function isHostName(text: string): boolean {
  return isIPv4(text) || (hostName.test(text) && !/(?:^|\.)\d+\.?$/.test(text));
}

/** @returns HOST:PORT, with brackets around IPv6: the inverse of parseAddress */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
