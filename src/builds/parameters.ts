/** A launch's parameters as a build's record keeps them: secrets masked, and no more than there is use for. */

const secret = /secret|token|passw|passphrase|(^|_)pass($|_)|hmac|credential|private|(api|access)_?key/i;

/** The user, password or token in a URL. */
const login = /(:\/\/)[^/?#@\s]+@/g;

/** What the record keeps of all names and values together, in characters. */
const maxTotal = 256 * 1024;
/** A longer value is cut to its beginning. */
const maxValue = 32 * 1024;
const beginning = 1024;

/**
 * The parameters for the record: masked as maskSecrets() does it, long values cut, and those left out for which there is no
 * room; a warning says so. The job itself gets all of them whole.
 */
export function recordParameters(parameters: ReadonlyMap<string, string>): {
  parameters: Record<string, string>;
  warnings?: string[];
} {
  const kept: [string, string][] = [];
  let total = 0;
  let cut = 0;
  for (const [name, value] of Object.entries(maskSecrets(parameters))) {
    const short =
      value.length > maxValue ? `${value.slice(0, beginning)}… [${value.length} characters]` : value;
    // The quotes and signs around them count too, so that empty ones aren't for nothing.
    const size = name.length + short.length + 10;
    const fits = total + size <= maxTotal;
    if (fits) {
      kept.push([name, short]);
      total += size;
    }
    if (!fits || short !== value) cut += 1;
  }
  const object = Object.fromEntries(kept);
  if (cut === 0) return { parameters: object };
  const text = `${cut} of ${parameters.size} parameters are cut or left out in this record, which keeps ${maxTotal / 1024} KiB of them`;
  return { parameters: object, warnings: [text] };
}

/**
 * The parameters as they may be shown and kept: values whose names speak of secrets are masked, and so are the logins
 * in URLs.
 */
export function maskSecrets(parameters: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries(
    [...parameters].map(([name, value]) => [
      name,
      secret.test(name) ? "[masked]" : value.replace(login, "$1[masked]@"),
    ]),
  );
}
