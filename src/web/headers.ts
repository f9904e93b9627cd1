/** The headers that every answer carries: nothing from elsewhere runs in a page, and nothing of ours runs in another's. */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";

/** A page takes script, style and connections from us alone, and none of it from its own text. */
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

/** For what a job or a board made: whatever a browser takes it for, it has no rights at all. */
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
  // Asked for each time, since all of it changes; what doesn't says so itself.
  "cache-control": "no-cache",
};

/** Puts them on an answer that isn't begun; what the answer sets itself stands above them. */
export function setHeaders(answer: ServerResponse): void {
  for (const [name, value] of Object.entries(common)) if (value !== undefined) answer.setHeader(name, value);
}
