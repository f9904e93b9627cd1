/** HTML as a type of its own: what is put into a template is text, and escaped, unless it is such HTML itself. */

/** Safe to be put into a page as it is. */
export interface Html {
  readonly html: string;
}

type Value = Html | string | number | false | undefined | readonly Value[];

/** What HTML can't carry, and what would make a text look like another: control characters, and those that turn its direction. */
const unprintable = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/gu;
const kept: ReadonlySet<string> = new Set(["\t", "\n"]);

/** Text for an element's content or a quoted attribute; what can't be printed becomes U+FFFD. */
function escapeText(text: string): string {
  return text
    .toWellFormed()
    .replace(unprintable, (char) => (kept.has(char) ? char : "\ufffd"))
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** A template whose texts are escaped, lists joined, `false` and `undefined` left out. Attributes must be quoted. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return { html: String.raw({ raw: strings }, ...values.map(render)) };
}

/** HTML that somebody else has made safe. */
export function trusted(text: string): Html {
  return { html: text };
}

function render(value: Value): string {
  if (value === undefined || value === false) return "";
  if (typeof value === "string") return escapeText(value);
  if (typeof value === "number") return String(value);
  return "html" in value ? value.html : value.map(render).join("");
}
