/** Links in the output of programs: addresses, and places in the source such as `src/spi.c:88`. Without the DOM: the server uses it too. */

export interface TextLink {
  /** Of its characters in the text. */
  readonly from: number;
  readonly to: number;
  readonly href: string;
}

const maxLength = 2000;
const address = /\bhttps?:\/\/[^\s<>"'`\p{Cc}]+/giu;
/** What follows an address in prose; a parenthesis may be its own. Without the lookbehinds, a long run in an address takes quadratic time. */
const trailing = /(?<![.,;:!?*_\]}])[.,;:!?*_\]}]+$/;
const trailingWithParenthesis = /(?<![.,;:!?*_)\]}])[.,;:!?*_)\]}]+$/;
const place =
  /(?<![\w/.:@+-])((?:\.?\/)?(?:[\w.+@-]+\/)*[\w+@-][\w.+@-]*\.[A-Za-z]\w{0,7}):(\d{1,7})(?![\w/])/g;
/** The folder that a job runs in; its own paths begin behind it. */
const workspace = /^.*\/workspaces\/\d+\/[^/]+\//;

/** @returns the address, if a page may lead there */
export function safeAddress(text: string): string | undefined {
  return text.length <= maxLength && /^https?:\/\//i.test(text) && URL.canParse(text) ? text : undefined;
}

/** @param source the address of a file's line, with {path} and {line}; undefined: none is known */
export function linksIn(text: string, source: string | undefined): TextLink[] {
  const found: TextLink[] = [];
  for (const { 0: whole, index: from } of text.matchAll(address)) {
    const url = whole.replace(whole.includes("(") ? trailing : trailingWithParenthesis, "");
    const href = safeAddress(url);
    if (href !== undefined) found.push({ from, to: from + url.length, href });
  }
  if (source === undefined) return found;
  for (const { 0: whole, 1: path = "", 2: line = "", index: from } of text.matchAll(place)) {
    const isTaken = found.some((other) => from >= other.from && from < other.to);
    const own = path.replace(workspace, "").replace(/^\.\//, "");
    const isOutside = own.startsWith("/") || own.split("/").includes("..");
    if (isTaken || isOutside) continue;
    const href = source
      .replaceAll("{path}", own.split("/").map(encodeURIComponent).join("/"))
      .replaceAll("{line}", line);
    found.push({ from, to: from + whole.length, href });
  }
  return found.sort((a, b) => a.from - b.from);
}
