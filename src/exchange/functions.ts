/**
 * What a client and an agent hand each other besides a build: files in, results out, and what the agent is. All of it goes
 * through the job server, by three functions that each manager registers on a connection of its own. Each call is a foreground
 * job with a random unique, is answered at once, and holds at most 1 MiB:
 *
 *     send:MANAGER   a JSON line, a newline, bytes of an input        →  {"received": N}
 *     fetch:MANAGER  a JSON object that names a part of a build       →  a JSON line, a newline, its bytes
 *     info:MANAGER   nothing                                          →  an object that says what the agent is
 *
 * An answer is always WORK_COMPLETE; a refusal is `{"error": CODE, "message": TEXT}`, since gearmand passes no reason with
 * WORK_FAIL. WORK_FAIL means that the agent went away: ask again. One client has at most one piece on its way.
 *
 * A build with inputs goes like this:
 *
 * 1. The client makes a key pair (key.ts) and submits the build with LABGEAR_KEY, its public half, and LABGEAR_INPUTS, a list of
 *    names, sizes and digests (inputs.ts).
 * 2. The build's first data comes at once, and while something lacks it is repeated every 5 s, with `wants`: which inputs lack,
 *    and from which offset on. `manager` says where to send. Another manager there means that the build has begun anew.
 * 3. The client sends pieces in order, one at a time (send.ts), signed. A piece that was answered before is answered again and
 *    not appended twice. After a lost line it goes on at the offset of the next `wants`, or of the error `offset`.
 * 4. When the input is complete and has its digest, the build begins. Its results can be fetched (fetch.ts) while it runs and
 *    for as long as it is kept.
 *
 * Anything signed by the build's key is a sign of life of its client. With LABGEAR_CLIENT_TIMEOUT the client sends an empty `send:`
 * (no name, no bytes) several times in that period; see inputs.ts for the parameter.
 */

export type ExchangeFunction = "send" | "fetch" | "info";

export function sendFunction(manager: string): string {
  return `send:${manager}`;
}

export function fetchFunction(manager: string): string {
  return `fetch:${manager}`;
}

export function infoFunction(manager: string): string {
  return `info:${manager}`;
}

/** All that a manager registers for the exchange. */
export function exchangeFunctions(manager: string): Set<string> {
  return new Set([sendFunction(manager), fetchFunction(manager), infoFunction(manager)]);
}

/** @returns which of them a function's name is; undefined: none */
export function parseExchangeFunction(name: string): ExchangeFunction | undefined {
  const [kind, manager, ...rest] = name.split(":");
  if (!manager || rest.length > 0) return undefined;
  return kind === "send" || kind === "fetch" || kind === "info" ? kind : undefined;
}
