/** HTML templates with a type of their own: every other value put into a template is escaped. */

/** Safe to insert into a page. */
export interface Html {
  readonly html: string;
}

type Value = Html | string | number | false | undefined | readonly Value[];

/** Control characters, which HTML can't contain, and characters that reverse the direction of text and so make it look like another. */
const unprintable = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/gu;
const kept: ReadonlySet<string> = new Set(["\t", "\n"]);

/** Escapes text for the content of an element or a quoted attribute. Unprintable characters become U+FFFD. */
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

/** A template tag: escapes text, joins lists, leaves out `false` and `undefined`. Attributes must be quoted. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return { html: String.raw({ raw: strings }, ...values.map(render)) };
}

/** Marks HTML that is already sanitized. */
export function trusted(text: string): Html {
  return { html: text };
}

function render(value: Value): string {
  if (value === undefined || value === false) return "";
  if (typeof value === "string") return escapeText(value);
  if (typeof value === "number") return String(value);
  return "html" in value ? value.html : value.map(render).join("");
}
