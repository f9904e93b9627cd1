/** What clients and secrets may bring into a build's environment, by the rules that the configuration and the builds share. */

/** Sources: ld.so(8), bash(1), dash(1), git(1), node(1), and the manuals of the other runtimes. */
const dangerous: readonly (readonly [names: string, effect: string])[] = [
  [
    "LD_.*|DYLD_.*|GLIBC_.*|MALLOC_.*|GCONV_PATH|LOCPATH|NLSPATH|TZDIR|OPENSSL_.*",
    "changes what is loaded into every program",
  ],
  [
    "BASH.*|SHELL.*|ENV|IFS|PS[0-9]|PROMPT_COMMAND|CDPATH|FPATH|GLOBIGNORE|POSIXLY_CORRECT|ZDOTDIR",
    "changes what the shell does",
  ],
  ["NODE_.*|NPM_.*|npm_.*", "changes what Node.js runs"],
  ["PYTHON.*|PIP_.*", "changes what Python runs"],
  ["PERL.*", "changes what Perl runs"],
  ["RUBY.*|GEM_.*|BUNDLE_.*", "changes what Ruby runs"],
  ["JAVA_.*|_JAVA_.*|JDK_.*|CLASSPATH|MAVEN_.*|GRADLE_.*", "changes what Java runs"],
  [
    "LUA_.*|PHPRC|PHP_.*|R_PROFILE.*|CARGO.*|RUST.*|GOFLAGS|GOPROXY|MAKE.*|MFLAGS|GNUMAKEFLAGS",
    "changes what build tools run",
  ],
  ["GIT_.*|SSH_.*|EDITOR|VISUAL|PAGER|BROWSER|LESS.*", "changes what git and its helpers run"],
  [
    "PATH|HOME|USER|LOGNAME|TMPDIR|TMP|TEMP|PWD|OLDPWD|XDG_.*|TERMCAP|TERMINFO.*",
    "changes where programs and files are found",
  ],
  ["SUDO_.*|DBUS_.*|NOTIFY_SOCKET", "changes whose rights programs use"],
  [
    "HOSTALIASES|RES_OPTIONS|LOCALDOMAIN|(?:HTTPS?|FTP|ALL|NO)_PROXY|(?:https?|ftp|all|no)_proxy|(?:CURL|SSL|REQUESTS)_.*",
    "changes which peers programs talk to",
  ],
];
const patterns = dangerous.map(([names, effect]) => [new RegExp(`^(?:${names})$`), effect] as const);

/** The variables that labgear gives every build: its own, and Jenkins's. */
const own = /^(?:LABGEAR_.*|JOB_NAME|BUILD_NUMBER|BUILD_URL|NODE_NAME|WORKSPACE|EXECUTOR_NUMBER)$/;

/** @returns whether labgear sets the variable itself */
export function isOwnVariable(name: string): boolean {
  return own.test(name);
}

/** @returns whether a text can name an environment variable in every shell */
export function isVariableName(text: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(text);
}

/** @returns why a client can't set the variable; undefined: it can */
export function variableProblem(name: string): string | undefined {
  if (!isVariableName(name)) return "can't name a variable: use letters, digits and _, and no digit first";
  if (isOwnVariable(name)) return "is set by labgear itself";
  const found = patterns.find(([pattern]) => pattern.test(name));
  return found && `can't be set by clients: it ${found[1]}`;
}

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
