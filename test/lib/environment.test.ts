/** Variables that no client may set, in the configuration's check and in a build's environment alike. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { jobEnvironment } from "#/builds/environment.ts";
import { variableProblem } from "#/lib/environment.ts";

const dangerous =
  `LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES GLIBC_TUNABLES MALLOC_CHECK_ GCONV_PATH LOCPATH NLSPATH
  TZDIR OPENSSL_CONF OPENSSL_MODULES BASH_ENV BASH_FUNC_x BASHOPTS SHELL SHELLOPTS ENV IFS PS1 PS4 PROMPT_COMMAND CDPATH FPATH
  GLOBIGNORE POSIXLY_CORRECT ZDOTDIR NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NPM_CONFIG_REGISTRY npm_config_registry PYTHONPATH
  PYTHONSTARTUP PIP_INDEX_URL PERL5LIB PERL5OPT RUBYOPT RUBYLIB GEM_PATH BUNDLE_GEMFILE JAVA_TOOL_OPTIONS _JAVA_OPTIONS
  JDK_JAVA_OPTIONS CLASSPATH MAVEN_OPTS GRADLE_OPTS LUA_PATH PHPRC PHP_INI_SCAN_DIR R_PROFILE_USER CARGO_HOME RUSTC_WRAPPER RUSTFLAGS
  GOFLAGS GOPROXY MAKEFLAGS MAKEFILES MFLAGS GNUMAKEFLAGS GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_DIR SSH_AUTH_SOCK EDITOR VISUAL PAGER
  BROWSER LESSOPEN LESSKEYIN PATH HOME USER LOGNAME TMPDIR TMP TEMP PWD OLDPWD XDG_CONFIG_HOME TERMCAP TERMINFO TERMINFO_DIRS SUDO_ASKPASS
  DBUS_SESSION_BUS_ADDRESS NOTIFY_SOCKET HOSTALIASES RES_OPTIONS LOCALDOMAIN HTTP_PROXY https_proxy no_proxy CURL_HOME
  SSL_CERT_FILE REQUESTS_CA_BUNDLE`.split(/\s+/);
const own =
  "LABGEAR_UUID LABGEAR_ANYTHING JOB_NAME BUILD_NUMBER BUILD_URL NODE_NAME WORKSPACE EXECUTOR_NUMBER";

test("what makes programs load other code, or find other files and peers, is refused with its effect", () => {
  for (const name of dangerous)
    assert.match(variableProblem(name) ?? "", /^can't be set by clients: it changes /, name);
  for (const name of own.split(" ")) assert.equal(variableProblem(name), "is set by labgear itself", name);
  for (const name of ["", "A-B", "1A", "A=B", "BÄR", "A\n"])
    assert.match(variableProblem(name) ?? "", /^can't name a variable/, name);
});

test("others are free, also when their names begin like a refused one", () => {
  const free = "BOARD_REV _x environment HOMEPAGE PATHS USERS ENVIRONMENT IFS2 TERM LANG TZ CC CFLAGS PS";
  for (const name of `${free} ZUUL_REF LOG_PATH SWIFT_URL`.split(" "))
    assert.equal(variableProblem(name), undefined, name);
});

test("a build's environment refuses the same names, even where its job lists them", () => {
  const names = [...dangerous, ...own.split(" ")];
  const parameters = new Map([...names, "BOARD_REV"].map((name) => [name, "x"]));
  const { env } = jobEnvironment({ parameters, allowed: [...parameters.keys()], own: {}, base: {} });
  assert.deepEqual(env, { BOARD_REV: "x" });
});
