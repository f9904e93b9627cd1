/** What a launch asks to check out; each part is checked before git sees it. */
import { shown } from "#/lib/text.ts";
import { BuildError } from "../errors.ts";

export interface Source {
  /** The repository's URL; it can contain a user and a password. */
  readonly url: string;
  /** As git's transports are named in GIT_ALLOW_PROTOCOL (git(1)). */
  readonly transport: "http" | "https" | "git" | "ssh" | "file";
  /** A full ref, a branch's short name, or HEAD. */
  readonly ref: string;
  /** 40 or 64 hex digits: a commit, or the tag object of an annotated tag. Absent: what the ref points to. */
  readonly commit?: string;
  /** The branch that the change is for. */
  readonly branch?: string;
}

const transports: Readonly<Record<string, Source["transport"]>> = {
  "http:": "http",
  "https:": "https",
  "git:": "git",
  "ssh:": "ssh",
  "git+ssh:": "ssh",
  "ssh+git:": "ssh",
  "file:": "file",
};

/**
 * Reads a launch's parameters: ZUUL_REF of ZUUL_URL/ZUUL_PROJECT at ZUUL_COMMIT. A launch without ZUUL_REF (from a timer, or by
 * hand) means the tip of ZUUL_BRANCH, or of the repository's HEAD.
 * @throws BuildError CHECKOUT_REFUSED, never with the URL, which can contain a password
 */
export function readSource(parameters: ReadonlyMap<string, string>): Source {
  const base = parameters.get("ZUUL_URL");
  const project = parameters.get("ZUUL_PROJECT");
  // The first Zuul (2013) sends no ZUUL_URL: each job knew by itself where to fetch from.
  if (!base) {
    throw refused(
      "the launch has no ZUUL_URL (the first Zuul sends none): set checkout: false, or add ZUUL_URL in Zuul's layout",
    );
  }
  if (!project) throw refused("the launch has no ZUUL_PROJECT: there is nothing to check out");
  const transport = checkUrl(base, "ZUUL_URL");
  checkProject(project);
  const named = parameters.get("ZUUL_BRANCH")?.replace(/^refs\/heads\//, "");
  const ref = parameters.get("ZUUL_REF") || (named ? `refs/heads/${named}` : "HEAD");
  if (!isRef(ref)) throw refused(`${shown(ref)} is not a ref that git allows`);
  const branch = named || /^refs\/heads\/(.*)$/.exec(ref)?.[1];
  const isBranch = branch !== undefined && isRef(branch);
  const url = `${base.replace(/\/+$/, "")}/${project}`;
  const source = { url, transport, ref, ...(isBranch && { branch }) };
  const commit = parameters.get("ZUUL_COMMIT") || parameters.get("ZUUL_NEWREV");
  if (!commit) return source;
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/i.test(commit)) {
    throw refused(`${shown(commit)} is not a commit: 40 or 64 hex digits are expected`);
  }
  // Gerrit's way to say that a ref was deleted.
  if (/^0+$/.test(commit)) throw refused(`${ref} was deleted: there is nothing to check out`);
  return { ...source, commit: commit.toLowerCase() };
}

/**
 * Where a submodule comes from, by the URL in .gitmodules: which may be relative to the project above, or scp's HOST:PATH
 * (gitmodules(5), git-fetch(1)). It is a change's to write.
 * @throws BuildError CHECKOUT_REFUSED
 */
export function readModuleSource(text: string, above: Source, commit: string): Source {
  const name = "a submodule's URL";
  let url = text;
  const isRelative = /^\.\.?\//.test(url);
  if (isRelative) {
    let base = above.url.replace(/\/+$/, "");
    const last = base.includes("://") ? /\/+[^/]*$/ : /[/:][^/:]*$/;
    for (; /^\.\.?\//.test(url); url = url.replace(/^\.\.?\/+/, "")) {
      if (url.startsWith("../")) base = base.replace(last, "");
    }
    url = `${base}/${url}`;
  } else if (url.startsWith("/") && above.transport === "file") url = `file://${url}`;
  const mayBeScp = !isRelative || !above.url.includes("://");
  const [, user = "", host, path] = /^([^/:@]+@)?([^/:@]+):(?!\/\/)([^:].*)$/.exec(url) ?? [];
  if (mayBeScp && host !== undefined && path !== undefined) {
    checkUrl(`ssh://${user}${host}/${path.replace(/^\/+/, "")}`, name);
    return { url, transport: "ssh", ref: "HEAD", commit };
  }
  const transport = checkUrl(url, name);
  if (transport === "file" && above.transport !== "file")
    throw refused(`${name} leads to this box, and the project's doesn't`);
  return { url, transport, ref: "HEAD", commit };
}

function checkUrl(text: string, name: string): Source["transport"] {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw refused(
      `${name} is not a URL: http, https, git, ssh or file is expected (file:///srv/git for a local mirror)`,
    );
  }
  const transport = transports[url.protocol];
  // A URL such as "ext::COMMAND" would run one of git's remote helpers (gitremote-helpers(7)).
  if (!transport || !/^[a-z+]+:\/\//i.test(text)) {
    throw refused(`${name} has a protocol that is never used: http, https, git, ssh or file is expected`);
  }
  if (!isPlain(text) || /[?#]/.test(text) || /%([01][0-9a-f]|7f)/i.test(text) || text.length > 2048) {
    throw refused(`${name} has characters that don't belong in a repository's URL`);
  }
  // ssh takes such a host or user for an option (CVE-2017-1000117).
  if (url.hostname.startsWith("-") || url.username.startsWith("-")) {
    throw refused(`${name} has a host or a user that starts with a hyphen`);
  }
  if (transport !== "file" && url.hostname === "") throw refused(`${name} names no host`);
  return transport;
}

function checkProject(project: string): void {
  const parts = project.split("/");
  const odd = parts.some((part) => part === "" || part === "." || part === ".." || part.startsWith("-"));
  if (odd || !isPlain(project) || /[?#%:]/.test(project) || project.length > 1024) {
    throw refused(`${shown(project)} is not a project's path`);
  }
}

/**
 * The rules of git-check-ref-format(1) with --allow-onelevel; and nothing that could be an option.
 * @internal
 */
export function isRef(ref: string): boolean {
  if (/[\p{Cc} ~^:?*[\\]|\.\.|@\{|\/\/|^[-/]|[/.]$|^@$/u.test(ref) || ref === "" || ref.length > 1024)
    return false;
  return ref.split("/").every((part) => !part.startsWith(".") && !part.endsWith(".lock"));
}

/**
 * Without white space, control characters, backslashes and quotes: a layer below could interpret them.
 */
function isPlain(text: string): boolean {
  return !/[\s\p{Cc}\\"'`]/u.test(text);
}

function refused(message: string): BuildError {
  return new BuildError("CHECKOUT_REFUSED", message);
}
