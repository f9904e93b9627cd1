/** The security headers of every answer: pages load nothing from other sites, and other sites can't embed them. */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";

/** Scripts, styles and connections only from this server; nothing inline. */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** For content made by a job or a board: sandboxed, even if a browser renders it as HTML. */
export const untrusted = {
  "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
} as const;

const common: OutgoingHttpHeaders = {
  "content-security-policy": pagePolicy,
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  // Answers change all the time; assets, which don't, set their own.
  "cache-control": "no-cache",
};

/** Sets the defaults of a response; a route can override them. */
export function setHeaders(response: ServerResponse): void {
  for (const [name, value] of Object.entries(common))
    if (value !== undefined) response.setHeader(name, value);
}
