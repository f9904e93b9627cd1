/** The parameters of a build as its record keeps them and pages show them: without secrets, and not too many. */

/** In characters, names and values together. */
const maxRecorded = 256 * 1024;
/** In characters; a longer value is cut to its beginning. */
const maxRecordedValue = 32 * 1024;
const keptOfLong = 1024;

/**
 * The parameters for the record: secrets masked, long values cut, and those left out that don't fit; a warning says so. The
 * job itself gets all of them whole.
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
      value.length > maxRecordedValue ? `${value.slice(0, keptOfLong)}… [${value.length} characters]` : value;
    // JSON's quotes and commas count too.
    const size = name.length + short.length + 10;
    const fits = total + size <= maxRecorded;
    if (fits) {
      kept.push([name, short]);
      total += size;
    }
    if (!fits || short !== value) cut += 1;
  }
  const object = Object.fromEntries(kept);
  if (cut === 0) return { parameters: object };
  const text = `${cut} of ${parameters.size} parameters are cut or left out: this record keeps ${maxRecorded / 1024} KiB of them`;
  return { parameters: object, warnings: [text] };
}

/**
 * The parameters as they can be kept and shown: values with a secret's name are masked, and so are the secrets within others.
 * @internal
 */
export function maskSecrets(parameters: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries(
    [...parameters].map(([name, value]) => [name, namesSecret(name) ? masked : maskWithin(value)]),
  );
}

const masked = "[masked]";

/** Whether a recorded value lacks a secret that the client sent. */
export function isMasked(value: string): boolean {
  return value.includes(masked);
}

/** Parts of names that stand for a secret wherever they are. */
const telling = /secret|token(?!i[sz])|passw|passphrase|passcode|hmac|credential|private|(api|access)_?key/i;
/** Whole words of names, and how the words for signing in begin. Nobody hides an author. */
const words =
  /(^|_)((ssh|key|store|user|db|root|admin)?pass|pwd|pw|sig(nature)?|session_?id|pat|auth(?!or(?!i[sz]))\w*|o?auth2?|cookies?|jwt|pin|dsn|creds?|psk|t?otp|bearer|netrc|webhook)($|_)/i;
const key = /keys?(_?(b64|base64|pem))?$/i;
/** English words that end like a key, and keys that everybody may see. */
const otherKey = /((mon|tur|don|hot|whis|joc|hoc|lac)keys?|(^|_)(pub|public|cache|sort)_?keys?)$/i;

/** @returns whether what has this name is a secret, by the names that people use: DB_PWD, sshKey, x-api-key */
function namesSecret(name: string): boolean {
  const snake = name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").replace(/[^A-Za-z0-9]+/g, "_");
  return telling.test(snake) || words.test(snake) || (key.test(snake) && !otherKey.test(snake));
}

/** Secrets by their form. Each pattern can begin at one place of a word only, so it takes time in proportion to the value. */
const forms: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, masked],
  // The user, password or token in a URL.
  [/(:\/\/)[^/?#\s]+@/g, `$1${masked}@`],
  // The password in a data source name of Go: USER:PASSWORD@tcp(HOST).
  [/(?<!\S)([^\s:@/]+:)[^\s@]+(?=@[a-z0-9]*\()/g, `$1${masked}`],
  [/\b((?:basic|bearer)\s+)[\w.~+/=-]{16,}/gi, `$1${masked}`],
  // Tokens of GitHub, GitLab and Slack, and JSON web tokens.
  [/\b(gh[pousr]_|github_pat_|glpat-|xox[a-z]-)[\w-]{10,}/g, masked],
  [/(?<![\w-])eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*/g, masked],
];

/** Masks what has a secret's name in a query string, a data source name, a header, JSON or a command line, and other secrets. */
function maskWithin(value: string): string {
  const text = forms.reduce((rest, [form, instead]) => rest.replace(form, instead), value);
  const pair = /(?<![\w.-])([\w.-]+)(\\?["']?\s*(?:[=:]|%3[ad])\s*\\?["']?|[ \t]+["']?)/gi;
  let clean = "";
  let done = 0;
  for (let found = pair.exec(text); found; found = pair.exec(text)) {
    const [, name = "", separator = ""] = found;
    // In a query string within a query string, the name follows %3F or %26.
    const plain = text[found.index - 1] === "%" ? name.slice(2) : name;
    const isOption = name.startsWith("--");
    if ((separator.trim().replace(/["']/, "") === "" && !isOption) || !namesSecret(plain)) continue;
    const secret = secretAfter(plain, separator);
    secret.lastIndex = pair.lastIndex;
    const [hidden = ""] = secret.exec(text) ?? [];
    if (hidden === "") continue;
    clean += text.slice(done, pair.lastIndex) + masked;
    done = pair.lastIndex += hidden.length;
  }
  return clean + text.slice(done);
}

/** What the value of a secret looks like: to the closing quote, to the end of a header, or to the end of the word. */
function secretAfter(name: string, separator: string): RegExp {
  if (separator.endsWith('"')) return /(?:[^"\\]|\\[\s\S])*/y;
  if (separator.endsWith("'")) return /[^']*/y;
  if (/(authorization|cookie)$/i.test(name) && separator.includes(":")) return /[^\r\n"']*/y;
  return /[^\s&;"'<>]*/y;
}
