/** For routes that write to the socket themselves. */
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";

/** What tells the HTTP library that the answer is on its way. */
export function alreadySent(): Response {
  return RESPONSE_ALREADY_SENT;
}
