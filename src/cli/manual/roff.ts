/** The few macros of man(7) that the manual pages need. */

/** Escapes everything that man would take for a macro or an escape. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^(['.])/gm, "\\&$1")
    .replaceAll("…", "...")
    .replaceAll("→", "->");
}

/** @param section 1 for programs, 5 for files */
export function pageStart(name: string, section: number, version: string): string {
  return `.TH ${roff(name.toUpperCase())} ${section} "" "labgear ${version}" "labgear"\n.nh\n.ad l\n`;
}

export const heading = (text: string): string => `.SH ${roff(text.toUpperCase())}\n`;

export const subheading = (text: string): string => `.SS ${roff(text)}\n`;

export const paragraph = (text: string): string => `.PP\n${roff(text.trim())}\n`;

/** A term in bold with its explanation. */
export const item = (term: string, text: string): string => `.TP\n.B ${roff(term)}\n${roff(text.trim())}\n`;

/** Lines that are not filled. */
export const verbatim = (text: string): string => `.PP\n.nf\n${roff(text.trimEnd())}\n.fi\n`;

export const indented = (text: string): string => `.RS\n${text}.RE\n`;
