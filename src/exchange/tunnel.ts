/**
 * What goes over the WebSocket between a lease's holder and a gate, each message binary: a line of JSON, a newline, bytes.
 *
 *     holder → gate   {"call": N, "function": "type" | "console" | "send" | "fetch"}\n ARGUMENT      for the agent that has the lease
 *     gate → holder   {"answer": N}\n ANSWER                                                as the agent gives it, or an error
 *                     {"data": {…}}\n                                                       what the agent says of the lease
 *                     {"queue": {"queued": N, "workers": N, "running": N}}\n                while it waits
 *                     {"ended": {"result", "reason", "cause"}}\n                            no more data follows
 *
 * ARGUMENT and ANSWER are those of the functions of that name: the holder signs, the gate passes on.
 */
import {
  type JsonObject,
  joinMessage,
  malformed,
  maxLineBytes,
  maxPieceBytes,
  parseObject,
} from "./message.ts";

export const tunnelProtocol = "labgear.lease.1";

export const tunnelFunctions = ["type", "console", "send", "fetch"] as const;
export type TunnelFunction = (typeof tunnelFunctions)[number];

/** Of any message: what it carries has a line of its own. */
export const maxTunnelBytes = maxPieceBytes + 2 * maxLineBytes;

/** What isn't an answer or a call has no bytes, and its line may be as long as the message. */
export function formatTunnel(object: JsonObject, bytes: Uint8Array = new Uint8Array()): Buffer {
  return joinMessage(object, bytes);
}

/** @throws ExchangeError malformed */
export function parseTunnel(message: Buffer): { readonly object: JsonObject; readonly bytes: Buffer } {
  const end = message.indexOf(0x0a);
  if (end < 0) throw malformed("has no line of JSON");
  return { object: parseObject(message.subarray(0, end), maxTunnelBytes), bytes: message.subarray(end + 1) };
}
