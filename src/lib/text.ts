/** Text from outside, made fit for a line on a terminal; and the nearest of some names. */

/** Control characters, invisible ones that reorder or hide text, halves of pairs, separators of lines. */
const unfit = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** @returns the text with every character that a terminal would act on, or not show, as \uXXXX */
export function printable(text: string): string {
  return text.replace(unfit, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** @returns a value from outside as a message shows it, on one line, with so many characters of a text */
export function shown(value: unknown, maxLength = 60): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  if (typeof value !== "string") return String(value);
  const characters = [...value];
  const cut = characters.length > maxLength ? `${characters.slice(0, maxLength).join("")}…` : value;
  return `"${printable(cut)}"`;
}

/** @returns names as a sentence has them: "a, b and c" */
export function inWords(names: readonly string[], last: "and" | "or" = "and"): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} ${last} ${names.at(-1)}`;
}

/**
 * @param found a name that nothing answers to
 * @param known the names that would have been right
 * @returns ` (did you mean "…"?)`, or nothing when none is near
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

/** Levenshtein's: how many characters have to be put in, taken out or changed. */
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
