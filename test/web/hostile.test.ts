/** Hostile descriptions, names and paths from jobs, clients and visitors: none of them has any effect. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { attachment, sanitize } from "#/web/untrusted.ts";
import { gearman } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { WebLab } from "./web-lab.ts";

const descriptions = [
  "<img src=x onerror=alert(1)>",
  "<script>alert(1)</script>",
  '<a href="javascript:alert(1)">x</a>',
  '<a href="JaVaScRiPt&colon;alert(1)">x</a>',
  '<a href=" &#1;javascript:alert(1)">x</a>',
  '<a href="data:text/html,<script>alert(1)</script>">x</a>',
  '<a href="//evil.example">x</a>',
  '<b onclick="alert(1)" style="position:fixed">x</b>',
  "<svg><script>alert(1)</script></svg>",
  "<svg/onload=alert(1)>",
  "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
  "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
  "<form action=https://evil.example><input name=q></form>",
  "<base href=https://evil.example>",
  "<meta http-equiv=refresh content='0;url=https://evil.example'>",
  "<style>*{background:url(https://evil.example)}</style>",
  "<textarea><script>alert(1)</script>",
  "<!--><script>alert(1)</script>-->",
  "<b>".repeat(20_000),
  "<scr<script>ipt>alert(1)</scr</script>ipt>",
  "</div></main></body><h1>another page</h1>",
  "\u0000<b>\u202ex</b>",
];

test("sanitized descriptions contain nothing active", () => {
  for (const description of descriptions) {
    const clean = sanitize(description);
    assert.doesNotMatch(
      clean,
      /<\s*(script|img|svg|math|iframe|form|input|base|meta|style|textarea|body|main|h1)/i,
      description,
    );
    assert.doesNotMatch(clean, /<[^>]*\b(on\w+|style|srcdoc)\s*=/i, description);
    assert.doesNotMatch(clean, /href="(?!https?:|mailto:)/i, description);
  }
  assert.equal(
    sanitize('<a href="https://review.example/1" target="_top">change <b>1</b></a>'),
    '<a href="https://review.example/1" rel="noopener noreferrer nofollow">change <b>1</b></a>',
  );
});

test("the file name of a download is safe", () => {
  assert.equal(
    attachment('a/b/gpj.\u202eexe"\r\nX: y'),
    "attachment; filename=\"gpj._exe___X: y\"; filename*=UTF-8''gpj._exe%22__X%3A%20y",
  );
  assert.equal(attachment("ü.txt"), "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%BC.txt");
});

const yaml = `
links: { change: "https://review.example/{branch}/{change}" }
jobs:
  nasty:
    run: |
      cd "$LABGEAR_ARTIFACTS"
      echo '<script>alert(1)</script>' >'<img src=x onerror=alert(1)>.html'
      echo deep >'..%2f..%2fbuild.json'
      echo marks >"$(printf 'gpj.\\342\\200\\256exe')"
      mkdir folder
      ln -s /etc/passwd out
      ln -s .. up
      echo '<script>alert(2)</script>'
`;

test("names and paths that lead elsewhere", { skip: lacks("gearmand", "gearman") }, async (t) => {
  await using lab = await WebLab.start(yaml);
  await lab.run("nasty", "uuid-<script>alert(3)</script>", {
    "ZUUL_<script>": '"><img src=x onerror=alert(4)>',
  });
  const description = { name: "nasty", number: 1, html_description: descriptions.slice(0, 6).join("") };
  await gearman(lab.gearmand, ["-f", "set_description:box", JSON.stringify(description)]);

  await t.test("artifacts are sandboxed downloads, whatever their names", async () => {
    const { artifacts } = (await lab.json("/api/builds/nasty/1")) as { artifacts: { path: string }[] };
    const names = artifacts.map(({ path }) => path);
    assert.ok(names.includes("..%2f..%2fbuild.json"));
    assert.ok(!names.some((name) => name === "out" || name.startsWith("up")));
    for (const name of names) {
      const { status, headers, body } = await lab.get(
        `/builds/nasty/1/artifacts/${encodeURIComponent(name)}`,
      );
      assert.equal(status, 200, name);
      assert.ok(body.length > 0);
      assert.match(
        `${headers["content-disposition"]}`,
        /^attachment; filename="[ -~]*"; filename\*=UTF-8''[!-~]*$/,
      );
      assert.match(`${headers["content-security-policy"]}`, /^sandbox;/);
      assert.equal(headers["x-content-type-options"], "nosniff");
      assert.doesNotMatch(`${headers["content-type"]}`, /html|svg|script/);
    }
  });

  const secret = await readFile("/etc/passwd", "utf8");
  const ways = [
    "../build.json",
    "..%2fbuild.json",
    "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/build.json",
    "%2e%2e%2fbuild.json",
    "..%5cbuild.json",
    "folder/../../build.json",
    "folder%2f..%2f..%2fbuild.json",
    "out",
    "up/build.json",
    "up%2fbuild.json",
    "folder",
    ".",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "x%00",
    "%00",
    "x%0d%0aSet-Cookie:%20a=b",
    "%ff%fe",
    "%",
    "%e2%80%ae",
    "x".repeat(5000),
  ];
  for (const way of ways) {
    await t.test(`no escape by ${way.slice(0, 60)}`, async () => {
      const { status, body, headers } = await lab.get(`/builds/nasty/1/artifacts/${way}`);
      // Without its last slash, such an address is asked for once more.
      assert.ok([301, 400, 404].includes(status), `${status}`);
      assert.ok(!body.includes("uuid-") && !body.includes(secret.slice(0, 20)));
      assert.equal(headers["set-cookie"], undefined);
    });
  }

  for (const path of [
    "/builds/..%2f../1",
    "/builds/nasty/01",
    "/builds/nasty/1e0",
    "/builds/nasty/-1",
    "/builds/__proto__/1",
    "/builds/nasty/99999999999999999999",
    "/jobs/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "/devices/constructor",
    "/assets/../server.ts",
    "/assets/%2e%2e/x",
    "/api/builds/constructor/1",
  ]) {
    await t.test(`${path} is not found`, async () => {
      const { status, body } = await lab.get(path);
      assert.equal(status, 404);
      assert.ok(!body.includes("<script>alert"));
    });
  }

  await t.test("pages show everything as text", async () => {
    for (const path of ["/", "/builds/nasty/1", "/jobs/nasty"]) {
      const { status, body, headers } = await lab.get(path);
      const page = body.toString();
      assert.equal(status, 200);
      assert.doesNotMatch(page, /<script>|<script[^>]*>[^<]|<img|<[^>]*\s(on\w+|style)=|javascript:/i, path);
      assert.match(
        `${headers["content-security-policy"]}`,
        /^default-src 'none'; script-src 'self'; style-src 'self'/,
      );
    }
  });

  await t.test("a parameter that is no text has a link, and its pages", async () => {
    await lab.run("nasty", "uuid-surrogate", { ZUUL_CHANGE: "1", ZUUL_BRANCH: "x\ud83d" });
    for (const path of ["/", "/builds", "/builds/nasty/2"]) {
      const { status, body } = await lab.get(path);
      assert.equal(status, 200, path);
      assert.match(body.toString(), /href="https:\/\/review\.example\/x%EF%BF%BD\/1"/);
    }
  });

  await t.test("requests with other hosts and methods", async () => {
    assert.equal((await lab.get("/", { host: "evil.example" })).status, 421);
    assert.equal((await lab.get("/", { host: "localhost:80" })).status, 200);
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]) {
      const { status, headers } = await lab.get("/api/status", {}, method);
      assert.deepEqual([status, headers.allow], [405, "GET, HEAD"], method);
    }
    assert.equal((await lab.get("/", { cookie: "x".repeat(20_000) })).status, 431);
    assert.equal((await lab.get("http://evil.example/")).status < 500, true);
    assert.equal((await lab.get("*")).status < 500, true);
  });

  const lines = lab.agent.log.filter(({ msg }) => msg.includes("can't show"));
  assert.deepEqual(lines, [], "none of it is an internal error");
});
