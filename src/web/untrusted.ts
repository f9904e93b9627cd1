/** What clients, jobs and boards made, shown safely: descriptions without scripts, artifacts as downloads. */
import sanitizeHtml from "sanitize-html";

/** Sandboxed, even if a browser renders it as HTML. */
export const untrustedHeaders = {
  "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
} as const;

/** The rest of a longer description is dropped. */
const maxDescriptionCharacters = 64 * 1024;

/** HTML from a client, of which only text formatting is shown. */
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
    return sanitizeHtml(html.slice(0, maxDescriptionCharacters), options);
  } catch {
    // A description that the parser fails on must not take the page down.
    return "<em>The description can't be shown.</em>";
  }
}

/**
 * The Content-Disposition of a download (RFC 6266), with the name in ASCII for old clients and in UTF-8 (RFC 8187). Characters
 * that reverse the direction of text are replaced, because they could hide the real extension.
 */
export function attachment(path: string): string {
  const name = (path.split("/").at(-1) ?? "")
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "_")
    .replace(/\p{Cs}/gu, "_");
  const ascii = name.replace(/[^\x20-\x7e]|["\\%;]/g, "_");
  const encoded = encodeURIComponent(name).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
