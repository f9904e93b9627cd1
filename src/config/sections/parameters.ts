/** Which names a job may let a client set as environment variables. */

/** Names of variables that change what programs do before the job's script has a say. */
const dangerous: readonly (readonly [pattern: RegExp, effect: string])[] = [
  [
    /^(?:LD_|DYLD_|GLIBC_|GCONV_PATH$|LOCPATH$|NLSPATH$|MALLOC_)/,
    "changes what is loaded into every program",
  ],
  [
    /^(?:BASH|ENV$|IFS$|SHELL|PS4$|PROMPT_COMMAND$|CDPATH$|GLOBIGNORE$|POSIXLY_CORRECT$|ZDOTDIR$)/,
    "changes what the shell does",
  ],
  [/^(?:NODE_|NPM_|npm_)/, "changes what Node.js runs"],
  [/^PYTHON/, "changes what Python runs"],
  [/^PERL/, "changes what Perl runs"],
  [/^(?:RUBY|GEM_|BUNDLE_)/, "changes what Ruby runs"],
  [/^(?:JAVA_|JDK_|_JAVA_|CLASSPATH$|MAVEN_|GRADLE_)/, "changes what Java runs"],
  [
    /^(?:LUA_|PHPRC$|PHP_|R_PROFILE|CARGO|RUST|GOFLAGS$|GOPROXY$|PIP_|MAKE|MFLAGS$|GNUMAKEFLAGS$)/,
    "changes what build tools run",
  ],
  [/^(?:GIT_|SSH_|EDITOR$|VISUAL$|PAGER$|LESS)/, "changes what git and its helpers run"],
  [
    /^(?:PATH$|HOME$|USER$|LOGNAME$|TMPDIR$|TMP$|TEMP$|PWD$|OLDPWD$|XDG_|DBUS_)/,
    "changes where programs and files are looked for",
  ],
  [
    /^(?:HOSTALIASES$|RES_OPTIONS$|LOCALDOMAIN$|(?:HTTPS?|FTP|ALL|NO)_PROXY$|(?:https?|ftp|all|no)_proxy$|(?:CURL|SSL|REQUESTS)_)/,
    "changes whom programs talk to",
  ],
];

/** The variables that the agent gives to every build; the first group is its own, the second is Jenkins' (design: "A build, on the wire"). */
const reserved = /^(?:LABGEAR_.*|JOB_NAME|BUILD_NUMBER|BUILD_URL|NODE_NAME|WORKSPACE|EXECUTOR_NUMBER)$/;

/**
 * @param name one entry of a job's `parameters`
 * @returns why it can't be let through; undefined: it can
 */
export function refuseParameter(name: string): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,99}$/.test(name)) {
    return "is no name of an environment variable: letters, digits and _ (100 at most), no digit in front";
  }
  if (reserved.test(name)) return "is set by labgear itself";
  const found = dangerous.find(([pattern]) => pattern.test(name));
  return found && `may not come from a client: it ${found[1]}`;
}
