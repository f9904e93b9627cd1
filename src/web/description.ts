/** The description of a build: HTML from a client, of which only text formatting is shown. */
import sanitizeHtml from "sanitize-html";

/** The rest of a longer description is dropped. */
const maxCharacters = 64 * 1024;

const options: sanitizeHtml.IOptions = {
  allowedTags: [
    ...["a", "b", "i", "em", "strong", "s", "u", "small", "sub", "sup", "code", "kbd", "samp", "var", "tt"],
    ...["p", "br", "hr", "pre", "blockquote", "ul", "ol", "li", "dl", "dt", "dd", "span", "div", "font"],
    ...["table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption"],
  ],
  allowedAttributes: { a: ["href", "rel"], th: ["colspan", "rowspan"], td: ["colspan", "rowspan"] },
  allowedSchemes: ["http", "https", "mailto"],
  allowProtocolRelative: false,
  disallowedTagsMode: "discard",
  nestingLimit: 20,
  // Headings would break the outline of the page.
  transformTags: {
    ...Object.fromEntries(["h1", "h2", "h3", "h4", "h5", "h6"].map((tag) => [tag, "p"])),
    a: sanitizeHtml.simpleTransform("a", { rel: "noopener noreferrer nofollow" }),
  },
};

export function sanitize(html: string): string {
  try {
    return sanitizeHtml(html.slice(0, maxCharacters), options);
  } catch {
    // A description that the parser fails on must not take the page down.
    return "<em>The description can't be shown.</em>";
  }
}
