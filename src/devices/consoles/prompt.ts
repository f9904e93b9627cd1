/** A device's `prompt`: its text, or a pattern between slashes. Colours don't matter. */
import { compilePattern } from "./matcher.ts";

/** @returns whether a line that ends the output, without escape sequences, is the prompt */
export function promptTest(prompt: string): (line: string) => boolean {
  const source = patternOf(prompt);
  if (source === undefined) return (line) => line.trimEnd().endsWith(prompt.trim());
  const pattern = compilePattern(`(?:${source})\\s*$`);
  return (line) => pattern.test(line);
}

/** @returns the pattern between the slashes; undefined when the prompt is plain text */
export function patternOf(prompt: string): string | undefined {
  return /^\/(.+)\/$/.exec(prompt)?.[1];
}
