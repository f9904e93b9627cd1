/** Networks as CIDR writes them, such as 10.7.0.0/16 or fd00::/8; an address alone is a network of one. */
import { isIPv4, isIPv6 } from "node:net";

export interface Subnet {
  /** 4 or 16. */
  readonly address: readonly number[];
  /** How many of its bits count. */
  readonly prefix: number;
}

/** @returns undefined when it is no network */
export function parseSubnet(text: string): Subnet | undefined {
  const [, host = "", bits] = /^([0-9a-fA-F.:]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  if (!isIPv4(host) && !isIPv6(host)) return undefined;
  const address = addressBytes(host);
  const prefix = bits === undefined ? address.length * 8 : Number(bits);
  return prefix <= address.length * 8 ? { address, prefix } : undefined;
}

/** @param address an IPv4 or IPv6 address, without an interface's name */
export function addressBytes(address: string): number[] {
  if (isIPv4(address)) return address.split(".").map(Number);
  // URL writes all of it in hexadecimal.
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string) => text.split(":").filter(Boolean);
  const [front, back] = [groups(head), groups(tail ?? "")];
  const zeros = Array.from({ length: 8 - front.length - back.length }, () => "0");
  return [...front, ...zeros, ...back]
    .map((group) => Number.parseInt(group, 16))
    .flatMap((n) => [n >> 8, n & 255]);
}
