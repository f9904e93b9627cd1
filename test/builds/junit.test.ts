import assert from "node:assert/strict";
import { lstatSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { type JunitLimits, readJunit } from "#/builds/junit.ts";
import { testFolder } from "../support/folders.ts";

async function read(
  files: Record<string, string | Buffer>,
  limits: Partial<JunitLimits> = {},
  globs = ["**/*.xml"],
) {
  const workspace = await realpath(await mkdtemp(join(tmpdir(), "labgear-junit-")));
  try {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(workspace, name)), { recursive: true });
      await writeFile(join(workspace, name), content);
    }
    return await readJunit({ workspace, globs, limits });
  } finally {
    await rm(workspace, { recursive: true });
  }
}

const one = (content: string | Buffer, limits: Partial<JunitLimits> = {}) =>
  read({ "report.xml": content }, limits);

test("a report with every outcome", async () => {
  const report = await one(`<?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="all" tests="99">
      <testsuite name="net" tests="4" failures="0">
        <properties><property name="x" value="y"/></properties>
        <testcase name="ping" classname="net.Ping" time="0.25"/>
        <testcase name="pong &lt;1&gt;" classname="net.Ping" time="1,000.5"><failure message="2 &#38; 3" type="Assert">at line 7
          <![CDATA[if (a < b)]]></failure><system-out>chatter</system-out></testcase>
        <testcase name="dns"><error>no route</error></testcase>
        <testcase name="ipv6"><skipped message="no v6"/></testcase>
      </testsuite>
      <testsuite name="outer"><testsuite name="inner"><testcase name="deep" time="abc"/></testsuite><testcase name="flat"/></testsuite>
    </testsuites>`);
  assert.deepEqual(report.warnings, []);
  assert.deepEqual(report.totals, { tests: 6, failures: 1, errors: 1, skipped: 1, time: 1000.75 });
  assert.deepEqual(report.cases.slice(0, 4), [
    { suite: "net", name: "ping", classname: "net.Ping", time: 0.25, status: "passed" },
    {
      suite: "net",
      name: "pong <1>",
      classname: "net.Ping",
      time: 1000.5,
      status: "failed",
      message: "2 & 3",
      details: "at line 7\n          if (a < b)",
    },
    { suite: "net", name: "dns", classname: "", time: 0, status: "error", details: "no route" },
    { suite: "net", name: "ipv6", classname: "", time: 0, status: "skipped", message: "no v6" },
  ]);
  assert.deepEqual(
    report.cases.slice(4).map((found) => [found.suite, found.name, found.time]),
    [
      ["inner", "deep", 0],
      ["outer", "flat", 0],
    ],
  );
});

test("the ways of GoogleTest, Surefire reruns and Zephyr's twister", async () => {
  const report = await one(`<testsuite name="s">
    <testcase name="disabled" status="notrun"/><testcase name="skip" status="run" result="skipped"/>
    <testcase name="flaky"><flakyFailure message="once">x</flakyFailure></testcase>
    <testcase name="teardown"><failure>first</failure><error>second</error></testcase>
    <testcase classname="board.kernel" name="kernel.sched"><skipped type="skipped" message="filtered"/></testcase>
  </testsuite>`);
  assert.deepEqual(
    report.cases.map((found) => found.status),
    ["skipped", "skipped", "passed", "failed", "skipped"],
  );
});

test("several files; one that is no report, an empty one, and one that is missing", async () => {
  const files = {
    "a/1.xml": `<testsuite><testcase name="1"/></testsuite>`,
    "a/2.xml": `<testsuite><testcase name="2"/></testsuite>`,
    "a/pom.xml": "<project/>",
    "a/empty.xml": "",
  };
  const report = await read(files, {}, ["a/*.xml", "**/1.xml", "b/*.xml"]);
  assert.equal(report.totals.tests, 2);
  assert.deepEqual(report.warnings.sort(), [
    '"b/*.xml" matches nothing',
    'the test report "a/empty.xml": it is empty',
    'the test report "a/pom.xml": it contains no test cases',
  ]);
});

test("a report that breaks off counts as far as it goes, and its open case as an error", async () => {
  const report = await one(
    `<testsuite name="s"><testcase name="done"/><testcase name="died"><system-out>abc`,
  );
  assert.deepEqual(
    report.cases.map((found) => [found.name, found.status]),
    [
      ["done", "passed"],
      ["died", "error"],
    ],
  );
  assert.match(report.warnings.join("\n"), /"report.xml": not well-formed: /);
});

test("a case within a case: both count, each with its own outcome", async () => {
  const report = await one(`<testsuite name="s">
      <testcase name="outer"><testcase name="inner"><failure message="of inner">inner</failure></testcase>
        <testcase name="second"/><error message="of outer">outer</error></testcase>
      <testcase name="last"/>
      <testcase name="cut"><testcase name="short"/><testcase name="open">`);
  assert.deepEqual(
    report.cases.map(({ name, status, message, details }) => [name, status, message, details]),
    [
      ["inner", "failed", "of inner", "inner"],
      ["second", "passed", undefined, undefined],
      ["outer", "error", "of outer", "outer"],
      ["last", "passed", undefined, undefined],
      ["short", "passed", undefined, undefined],
      ["open", "error", undefined, undefined],
      ["cut", "error", undefined, undefined],
    ],
  );
  assert.deepEqual(report.totals, { tests: 7, failures: 1, errors: 3, skipped: 0, time: 0 });
});

test("control characters that runners let through don't spoil the rest", async () => {
  const report = await one(
    `<testsuite><testcase name="a"><failure>\u001b[31mred\u001b[0m &nbsp; bare</failure></testcase><testcase name="b"/></testsuite>`,
  );
  assert.equal(report.totals.tests, 2);
  assert.match(report.cases[0]?.details ?? "", /red/);
  assert.match(report.warnings.join("\n"), /not well-formed: line 1, column \d+: undefined entity/);
});

test("a report is read to its end whatever characters it holds, raw or as references", async () => {
  for (const odd of ["\u001b", "&#27;", "&#x1B;", "&#x0;", "&#1114112;", "\uffff", "\u0000", "&#xD800;"]) {
    const cases = Array.from(
      { length: 3000 },
      (_, n) =>
        `<testcase name="t${n}" classname="c"><system-out>${odd}[31mred${odd}[0m</system-out></testcase>`,
    );
    const last = `<testcase name="${odd}last"><failure>${odd}</failure></testcase>`;
    const { totals, warnings } = await one(`<testsuite>\n${cases.join("\n")}${last}</testsuite>`);
    assert.deepEqual(
      { ...totals, time: 0 },
      { tests: 3001, failures: 1, errors: 0, skipped: 0, time: 0 },
      odd,
    );
    assert.deepEqual(warnings, [], odd);
  }
});

test("what a runner should have escaped costs no case, wherever a chunk ends", async () => {
  const cases = Array.from(
    { length: 3000 },
    (_, n) => `<testcase name="t${n}"><system-out>${"x".repeat(n % 97)} 1 < 2 && 3 <</system-out></testcase>`,
  );
  const last = `<testcase name="a < b && c"><failure message="x <= 3 & y"><![CDATA[1 < 2]]> &lt; &amp; R&D <3</failure></testcase>`;
  const report = await one(`<testsuite>${last}${cases.join("")}</testsuite>`);
  assert.deepEqual(
    { ...report.totals, time: 0 },
    { tests: 3001, failures: 1, errors: 0, skipped: 0, time: 0 },
  );
  assert.deepEqual(report.warnings, []);
  const { name, message, details } = report.cases[0] ?? {};
  assert.deepEqual([name, message, details], ["a < b && c", "x <= 3 & y", "1 < 2 < & R&D <3"]);
});

test("references that are allowed stay, also when they are cut by a chunk", async () => {
  const filler = "x".repeat(64 * 1024 - 60);
  for (let shift = 0; shift < 12; shift++) {
    const text = `<testsuite><!--${filler}${"y".repeat(shift)}--><testcase name="&#228;&amp;&#27;&#x1F600;&lt;"/></testsuite>`;
    const { cases, warnings } = await one(text);
    assert.deepEqual([cases[0]?.name, warnings], ["ä&\ufffd😀<", []]);
  }
});

test("a report whose reading stops says so, and its open case is no error", async () => {
  const many = "&nope;".repeat(30_000);
  const report = await one(
    `<testsuite><testcase name="a"/><testcase name="b">${many}</testcase></testsuite>`,
  );
  assert.deepEqual([report.totals.tests, report.totals.errors], [1, 0]);
  assert.match(
    report.warnings.join(),
    /isn't read to its end: it has more than 10000 faults; the first is: line 1/,
  );
});

test("a report from before the build doesn't count, unless the job keeps it", async () => {
  using folder = testFolder();
  const [old, fresh] = ["old.xml", "new.xml"].map((name) => join(folder.path, name));
  assert.ok(old && fresh);
  const write = (path: string, name: string) =>
    writeFileSync(path, `<testsuite><testcase name="${name}"/></testsuite>`);
  write(old, "a");
  const before = lstatSync(old, { bigint: true }).ctimeNs;
  do write(fresh, "b");
  while (lstatSync(fresh, { bigint: true }).ctimeNs === before);
  const parts = { workspace: folder.path, globs: ["*.xml"], period: { from: before + 1n } };
  const skipped = await readJunit(parts);
  assert.deepEqual(
    skipped.cases.map(({ name }) => name),
    ["b"],
  );
  assert.match(skipped.warnings.join(), /^test reports: left out, since older than this build: "old.xml"/);
  const kept = await readJunit({ ...parts, stale: "keep" });
  assert.equal(kept.totals.tests, 2);
  assert.match(kept.warnings.join(), /^test reports: kept, though older than this build: "old.xml"/);
});

test("a workspace that is gone is a warning", async () => {
  const report = await readJunit({
    workspace: "/nowhere/at/all",
    globs: ["*.xml"],
    own: "<testsuite><testcase/></testsuite>",
  });
  assert.equal(report.totals.tests, 1);
  assert.match(report.warnings.join(), /the job removed its workspace/);
});

test("encodings: UTF-16, Latin-1, a byte order mark, and characters across chunks", async () => {
  const xml = (encoding: string) =>
    `<?xml version="1.0" encoding="${encoding}"?><testsuite><testcase name="Prüfung"/></testsuite>`;
  const reports = [
    Buffer.from(`\ufeff${xml("UTF-16")}`, "utf16le"),
    Buffer.from(`\ufeff${xml("UTF-16")}`, "utf16le").swap16(),
    Buffer.from(xml("UTF-16"), "utf16le"),
    Buffer.from(xml("UTF-16"), "utf16le").swap16(),
    Buffer.from(xml("ISO-8859-1"), "latin1"),
    Buffer.from(`\ufeff${xml("utf-8")}`),
    Buffer.from(xml("no-such-thing")),
  ];
  for (const report of reports) assert.equal((await one(report)).cases[0]?.name, "Prüfung");
  const long = await one(
    `<testsuite><testcase name="a"><failure>${"€".repeat(100_000)}</failure></testcase></testsuite>`,
    { maxDetails: 99_999 },
  );
  assert.equal(long.cases[0]?.details, "€".repeat(99_999));
});

test("billion laughs and external entities: nothing is expanded, nothing is opened", async () => {
  const laughs = Array.from({ length: 30 }, (_, i) => `<!ENTITY l${i + 1} "${`&l${i};`.repeat(10)}">`).join(
    "",
  );
  const report = await one(
    `<!DOCTYPE t [<!ENTITY l0 "ha"><!ENTITY file SYSTEM "file:///etc/passwd">${laughs}]>` +
      `<testsuite name="&l30;"><testcase name="&l30;"><failure message="&file;">&file; &l30;</failure></testcase></testsuite>`,
  );
  assert.deepEqual(report.cases, [
    {
      suite: "&l30;",
      name: "&l30;",
      classname: "",
      time: 0,
      status: "failed",
      message: "&file;",
      details: "&file; &l30;",
    },
  ]);
  assert.match(report.warnings.join("\n"), /undefined entity/);
});

test("a document that is nested without end", async () => {
  const report = await one(`<testsuite><testcase name="a"/>${"<x>".repeat(1_000_000)}`);
  assert.equal(report.totals.tests, 1);
  assert.match(report.warnings.join("\n"), /nested more than 100 deep/);
});

test("limits: file size, cases, details, files", async () => {
  const many = `<testsuite name="s">${'<testcase name="t"><failure>f</failure></testcase>'.repeat(15_000)}</testsuite>`;
  const report = await one(many);
  assert.equal(report.totals.tests, 15_000);
  assert.equal(report.totals.failures, 15_000);
  assert.equal(report.cases.length, 10_000);
  assert.match(report.warnings.join("\n"), /the details of 5000 test cases are not kept/);

  const large = await one(many, { maxFileBytes: 1000 });
  assert.equal(large.totals.tests, 0);
  assert.match(large.warnings.join("\n"), /it is not read: \d+ bytes are more than the limit of 1000/);

  const wordy = await one(
    `<testsuite><testcase name="${"n".repeat(9000)}"><failure message="${"m".repeat(9000)}">${"d".repeat(90_000)}</failure></testcase></testsuite>`,
  );
  assert.deepEqual(
    [wordy.cases[0]?.name.length, wordy.cases[0]?.message?.length, wordy.cases[0]?.details?.length],
    [500, 2000, 16 * 1024],
  );
  const text = await one(many, { maxText: 100 });
  assert.ok(text.cases.length < 100);
  assert.equal(text.totals.tests, 15_000);

  const files = await read({ "1.xml": "<testsuite/>", "2.xml": "<testsuite/>" }, { maxFiles: 1 });
  assert.match(files.warnings.join("\n"), /more than the 1 reports/);
});

test("a report outside of the workspace isn't read", async () => {
  const outside = await mkdtemp(join(tmpdir(), "labgear-junit-"));
  const workspace = await mkdtemp(join(tmpdir(), "labgear-junit-"));
  try {
    await writeFile(join(outside, "r.xml"), `<testsuite><testcase name="a"/></testsuite>`);
    await symlink(join(outside, "r.xml"), join(workspace, "r.xml"));
    await symlink("/dev/zero", join(workspace, "zero.xml"));
    const report = await readJunit({ workspace, globs: ["*.xml", "../*/r.xml"] });
    assert.equal(report.totals.tests, 0);
    assert.equal(report.warnings.length, 3);
  } finally {
    await rm(outside, { recursive: true });
    await rm(workspace, { recursive: true });
  }
});

test("garbage of any kind is a warning, never an error", async () => {
  const samples = [
    "\0\0\0",
    "<",
    "<?xml",
    "<!DOCTYPE",
    "<a b=",
    "<testcase",
    "]]>",
    "{}",
    "<testsuite></testcase></x>",
    "&".repeat(10_000),
  ];
  for (const sample of samples) {
    const report = await one(sample);
    assert.equal(report.warnings.length, 1, sample.slice(0, 40));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what mustn't be there
    assert.doesNotMatch(report.warnings[0] ?? "", /[\u0000-\u001f]/);
  }
  assert.equal(
    (
      await one(
        '<testsuite __proto__="x"><testcase __proto__="y" constructor="z" name="n"><__proto__/></testcase></testsuite>',
      )
    ).totals.tests,
    1,
  );
});

test("a stop ends the reading, and says so", async () => {
  const workspace = await realpath(await mkdtemp(join(tmpdir(), "labgear-junit-")));
  await writeFile(join(workspace, "report.xml"), "<testsuite><testcase name='a'/></testsuite>");
  const report = await readJunit({ workspace, globs: ["*.xml"], signal: AbortSignal.abort() });
  assert.equal(report.totals.tests, 0);
  assert.deepEqual(report.warnings, ["the build was stopped; some test reports are not read"]);
  await rm(workspace, { recursive: true });
});
