/**
 * By which names the pages may be asked for. A page from elsewhere can make its own name lead to 127.0.0.1 and so have a
 * browser on the box read what is served there (DNS rebinding); but it can't choose the name that the browser then sends.
 */
import { isIP } from "node:net";
import { hostname } from "node:os";

/** @param host a name or an address, IPv6 without brackets */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\./.test(host) || /^::ffff:127\./i.test(host);
}

/**
 * @param url where users reach the pages
 * @returns tells by a Host header whether a request means us: by an address, or by a name that nobody else has
 */
export function isExpectedHost(url: string | undefined): (header: string) => boolean {
  const known = new Set(["localhost", hostname().toLowerCase()]);
  if (url !== undefined && URL.canParse(url)) known.add(new URL(url).hostname.toLowerCase());
  return (header) => {
    const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header) ?? [];
    const host = (bracketed ?? plain ?? "").toLowerCase().replace(/\.$/, "");
    return isIP(host) !== 0 || known.has(host) || host.endsWith(".localhost");
  };
}
