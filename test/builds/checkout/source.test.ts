import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isRef, readModuleSource, readSource } from "#/builds/checkout/source.ts";
import { BuildError } from "#/builds/errors.ts";

const commit = "c".repeat(40);
/** As Zuul 2.6.0 sends it. */
const launch = {
  ZUUL_URL: "http://127.0.0.1/p",
  ZUUL_PROJECT: "org/project",
  ZUUL_BRANCH: "master",
  ZUUL_REF: "refs/zuul/master/Zdeadbeef",
  ZUUL_COMMIT: commit,
};

function read(changes: Record<string, string | undefined> = {}) {
  const all = Object.entries({ ...launch, ...changes }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return readSource(new Map(all));
}

function refuses(changes: Record<string, string | undefined>, message = /./) {
  assert.throws(
    () => read(changes),
    (error: BuildError) => {
      assert.ok(error instanceof BuildError, String(error));
      assert.equal(error.code, "CHECKOUT_REFUSED");
      assert.match(error.message, /^\P{C}+$/u);
      assert.match(error.message, message);
      return true;
    },
    JSON.stringify(changes),
  );
}

test("a launch of Zuul", () => {
  assert.deepEqual(read(), {
    url: "http://127.0.0.1/p/org/project",
    transport: "http",
    ref: "refs/zuul/master/Zdeadbeef",
    commit,
    branch: "master",
  });
});

test("a ref update, and launches without a ref", () => {
  const tag = {
    ZUUL_BRANCH: undefined,
    ZUUL_REF: "refs/tags/v1",
    ZUUL_COMMIT: undefined,
    ZUUL_NEWREV: "1".repeat(40),
  };
  assert.deepEqual([read(tag).ref, read(tag).commit], ["refs/tags/v1", "1".repeat(40)]);
  assert.equal(read({ ZUUL_REF: "master" }).ref, "master");
  assert.equal(read({ ZUUL_REF: undefined }).ref, "refs/heads/master");
  assert.equal(read({ ZUUL_REF: undefined, ZUUL_BRANCH: undefined }).ref, "HEAD");
  assert.ok(!("commit" in read({ ZUUL_COMMIT: undefined })));
});

test("what can't be checked out says why", () => {
  refuses({ ZUUL_URL: undefined }, /no ZUUL_URL .* set checkout: false/);
  refuses({ ZUUL_PROJECT: undefined }, /no ZUUL_PROJECT/);
  refuses({ ZUUL_COMMIT: undefined, ZUUL_NEWREV: "0".repeat(40) }, /was deleted/);
  refuses({ ZUUL_COMMIT: "0".repeat(40) }, /was deleted/);
});

test("URLs of all kinds that are fetched from", () => {
  const good = [
    "https://user:p%40ss@git.example:8443/p",
    "git://git.example/",
    "ssh://zuul@review.example:29418",
    "git+ssh://h/p",
    "file:///srv/git",
    "http://[::1]:8080/p",
  ];
  for (const ZUUL_URL of good)
    assert.equal(read({ ZUUL_URL }).url, `${ZUUL_URL.replace(/\/$/, "")}/org/project`);
});

test("hostile URLs are refused, and never repeated", () => {
  const odd = [
    "ext::sh -c touch% /tmp/x",
    "ext::sh",
    "fd::17",
    "http::http://x/p",
    "ftp://x/p",
    "--upload-pack=touch /tmp/x",
    "/srv/git",
    "../git",
    "git@github.com:org",
    "http:/x",
    "ssh://-oProxyCommand=id/p",
    "ssh://-oProxyCommand=id@host/p",
    "git://host/a\nhost=evil",
    "git://host/a%0ahost=evil",
    'http://x/"p',
    "http://x/p?a=",
    "http://x/p#",
    "http:///",
    `http://x/${"p".repeat(3000)}`,
    "http://user:hunter2/x@host/p",
  ];
  for (const ZUUL_URL of odd) refuses({ ZUUL_URL }, /^(?!.*(hunter2|ProxyCommand|evil))/);
});

test("hostile projects are refused", () => {
  const odd = [
    "../../etc",
    "a/../../b",
    "/etc",
    "a//b",
    "a/",
    ".",
    "-x",
    "a/-x",
    "a b",
    "a\nb",
    "a\0b",
    "a\\b",
    "a%2e%2e",
    "a?b",
    "a:b",
    "a'b",
  ];
  for (const ZUUL_PROJECT of [...odd, "x".repeat(1025), "a\u2028b"]) refuses({ ZUUL_PROJECT });
  assert.equal(
    read({ ZUUL_PROJECT: "org/gerätetreiber.git" }).url,
    "http://127.0.0.1/p/org/gerätetreiber.git",
  );
});

test("hostile refs and commits are refused", () => {
  for (const ZUUL_REF of ["--upload-pack=touch /tmp/x", "-x", "a:b", "a b", "a\nb", "a^{}", "\u001b]0;x"]) {
    refuses({ ZUUL_REF });
  }
  refuses({ ZUUL_REF: undefined, ZUUL_BRANCH: "../x" });
  for (const ZUUL_COMMIT of ["HEAD", "--all", "c".repeat(39), `${commit}\n`, `${commit}^`, "g".repeat(40)])
    refuses({ ZUUL_COMMIT });
});

test("refs by git's own rules", () => {
  for (const ref of [
    "master",
    "HEAD",
    "refs/heads/a/b",
    "refs/changes/34/1234/5",
    "refs/heads/é",
    "a@b",
    "a.b",
    "refs/heads/a-b",
  ]) {
    assert.ok(isRef(ref), ref);
  }
  const odd = [
    ..."a..b .a a/.b a.lock a.lock/b a/ /a a//b a. @ a@{b a~1 a^ a? a* a[ a\\b -a".split(" "),
    "",
    "a\u007f",
    "a\u0001",
    "x".repeat(1025),
  ];
  for (const ref of odd) assert.ok(!isRef(ref), ref);
});

for (const version of ["2013", "2.1", "2.6.0"]) {
  test(`every launch that Zuul ${version} sent is understood`, () => {
    const capture = new URL(`../../zuul/captures/zuul-${version}.jsonl`, import.meta.url);
    const packets = readFileSync(capture, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const launches = packets.filter((packet) => packet.function?.startsWith("build:"));
    assert.ok(launches.length > 0);
    for (const packet of launches) {
      const parameters = new Map<string, string>(Object.entries(JSON.parse(packet.argument)));
      if (version === "2013") assert.throws(() => readSource(parameters), { code: "CHECKOUT_REFUSED" });
      else assert.equal(readSource(parameters).commit, parameters.get("ZUUL_COMMIT"));
    }
  });
}

test("where submodules come from", () => {
  const from = (url: string, above = "https://u:p@git.example/org/project") => {
    const transport = above.startsWith("file:") ? "file" : "https";
    return readModuleSource(url, { url: above, transport, ref: "HEAD" }, commit).url;
  };
  assert.equal(from("../library"), "https://u:p@git.example/org/library");
  assert.equal(from("../../other/./library"), "https://u:p@git.example/other/./library");
  assert.equal(from("./below"), "https://u:p@git.example/org/project/below");
  assert.equal(from("../library", "git@git.example:org/project"), "git@git.example:org/library");
  assert.equal(from("git@git.example:org/library.git"), "git@git.example:org/library.git");
  assert.equal(from("/srv/library", "file:///srv/project"), "file:///srv/library");
  const odd = [
    "ext::sh -c x",
    "-x:y",
    "ssh://-oProxyCommand=x/y",
    "git@-oProxyCommand=x:y",
    "../../../../x",
    "a b:c",
  ];
  for (const url of [...odd, "/etc", "file:///etc", "", "https://h/\n"])
    assert.throws(() => from(url), { code: "CHECKOUT_REFUSED" }, url);
});
