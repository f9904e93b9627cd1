/** What can be a secret of a job, and what of it is masked. */

export const maxSecretBytes = 16 * 1024;
/** Of all secrets of a job. Masking takes about a thousand times as much memory. */
export const maxSecretsBytes = 2 * maxSecretBytes;
/** A shorter one would mask pieces of innocent words. */
const minLineBytes = 4;

export const secretTooLong = "is longer than 16 KiB: too long for a secret";

/** @returns why the content of a file can't be a secret; undefined: it can */
export function secretProblem(content: Uint8Array, isVariable: boolean): string | undefined {
  if (content.length > maxSecretBytes) return secretTooLong;
  if (secretLines(content).length === 0)
    return `has no line of ${minLineBytes} characters or more: it is too short to be masked`;
  if (isVariable && content.includes(0)) return "contains a NUL: it can't be a variable, only a file";
  return undefined;
}

/** @returns the lines of a secret that are masked, without indentation, which tools change */
export function secretLines(content: Uint8Array): Buffer[] {
  const lines = Buffer.from(content)
    .toString("latin1")
    .split(/[\r\n]+/);
  return lines
    .map((line) => Buffer.from(line.replaceAll(/^[ \t]+|[ \t]+$/g, ""), "latin1"))
    .filter((line) => line.length >= minLineBytes);
}
