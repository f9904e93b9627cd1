/** The Range header of a request (RFC 9110, section 14). */

export type ByteRange =
  /** From the first byte to the last, both included. */
  | { readonly kind: "part"; readonly from: number; readonly to: number }
  | { readonly kind: "all" }
  /** There is nothing of what was asked for. */
  | { readonly kind: "none" };

/**
 * @param header as it came; what isn't understood, and more than one range, means all
 * @param size bytes that there are
 */
export function parseRange(header: string | undefined, size: number): ByteRange {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "");
  if (!match) return { kind: "all" };
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return { kind: "all" };
  if (first === "") {
    const length = Math.min(size, Number(last));
    return length === 0 ? { kind: "none" } : { kind: "part", from: size - length, to: size - 1 };
  }
  const from = Number(first);
  const to = last === "" ? size - 1 : Math.min(size - 1, Number(last));
  if (last !== "" && Number(last) < from) return { kind: "all" };
  return from >= size ? { kind: "none" } : { kind: "part", from, to };
}
