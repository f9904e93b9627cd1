/** Text from outside made safe for a terminal or a shell, words for lists, and the closest of some names. */

/** Control characters, invisible ones that reorder or hide text, lone surrogates, line separators. */
const unfit = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

const escapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** @returns the text with every character escaped that a terminal would act on or not show: \n, \u{1b} */
export function printable(text: string): string {
  return text.replace(unfit, (found) => escapes[found] ?? `\\u{${found.codePointAt(0)?.toString(16)}}`);
}

/** @returns a value from outside as messages show it: on one line, text in quotes and cut after maxLength characters */
export function shown(value: unknown, maxLength = 60): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  if (typeof value !== "string") return String(value);
  const characters = [...value.slice(0, 2 * maxLength + 1)];
  const cut = characters.length > maxLength ? `${characters.slice(0, maxLength).join("")}…` : value;
  return `"${printable(cut).replaceAll('"', '\\"')}"`;
}

/** @returns the text as one word of a POSIX shell */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The number of bytes at the end that start an incomplete UTF-8 character: 0 to 3. */
export function openTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    // The first byte gives the length of the character (RFC 3629, section 3).
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? back : 0;
  }
  return 0;
}

/** @returns names as in a sentence: "a, b and c" */
export function inWords(names: readonly string[], last: "and" | "or" = "and"): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} ${last} ${names.at(-1)}`;
}

/**
 * @param found an unknown name
 * @param known the names that would have been right
 * @returns ` (did you mean "…"?)`, or an empty text when none is close
 */
export function didYouMean(found: string, known: Iterable<string>): string {
  if (found.length > 100) return "";
  let best: { name: string; distance: number } | undefined;
  for (const name of known) {
    const distance = editDistance(found.toLowerCase(), name.toLowerCase());
    if (distance <= Math.max(1, Math.floor(name.length / 3)) && distance < (best?.distance ?? Infinity)) {
      best = { name, distance };
    }
  }
  return best ? ` (did you mean ${shown(best.name)}?)` : "";
}

/** The Levenshtein distance: how many characters must be added, removed or changed. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const changed = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(changed, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
