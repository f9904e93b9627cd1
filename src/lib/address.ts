/** Network addresses as people write them: HOST, HOST:PORT, [IPV6]:PORT. */
import { isIPv4, isIPv6 } from "node:net";

export interface Address {
  /** A name or an address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** RFC 1123 labels, and the underscore that real networks have. */
const hostName =
  /^(?!.{254})[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/;

/** The default port of job servers (gearmand). */
export const gearmanPort = 4730;

/** What messages say where a server's address is expected. */
export const serverForm = "HOST or HOST:PORT, IPv6 in brackets";

/**
 * @param text HOST, HOST:PORT, [IPV6] or [IPV6]:PORT
 * @param defaultPort when the text has none; without it, the port is required
 * @returns undefined when the text is no address. Port 0 is allowed: the caller knows whether it makes sense.
 */
export function parseAddress(text: string, defaultPort?: number): Address | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port === undefined || port > 65_535) return undefined;
  const isHost = match?.[1] === undefined ? isHostName(host) : isIPv6(host);
  return isHost ? { host, port } : undefined;
}

/** Four numbers that are no IPv4 address (300.1.1.1) are a typo, not a name. */
function isHostName(text: string): boolean {
  return isIPv4(text) || (hostName.test(text) && !/(?:^|\.)\d+\.?$/.test(text));
}

/** @param host a name or an address, IPv6 without brackets */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\./.test(host) || /^::ffff:127\./i.test(host);
}

/** @returns HOST:PORT, with brackets around IPv6: the inverse of parseAddress */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
