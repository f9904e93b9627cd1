/** The API: its OpenAPI document is valid, and each answer matches it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020, type AnySchema } from "ajv/dist/2020.js";
import { operations } from "#/web/api/openapi.ts";
import { gearman } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { freePort } from "../support/servers.ts";
import { WebLab } from "./web-lab.ts";

const yaml = (board: number) => `
jobs:
  full:
    run: |
      mkdir -p out
      echo 'one line'; echo '::group::one group'; echo 'in it'; echo '::endgroup::'; printf 'half'
      echo data >out/a.txt
      echo '<testsuite name="s"><testcase classname="c" name="good" time="0.5"/><testcase name="bad"><failure message="m">why</failure></testcase></testsuite>' >out/r.xml
    artifacts: ["out/a.txt"]
    junit: ["out/*.xml"]
  broken: { run: "exit 3" }
  long: { run: "echo at work; read -r line <fifo || sleep 60" }
  on-board: { nodes: [boards], shell: "true" }
devices:
  board-1: { classes: [boards], port: "tcp://127.0.0.1:${board}", console: linux }
host: { executors: 2 }
`;

/** The schema, but without undescribed properties. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  // Each part of allOf must allow the properties of the others.
  if ("allOf" in schema) return { ...schema, unevaluatedProperties: false };
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]));
  const isObject = copy.type === "object" && "properties" in copy && !("additionalProperties" in copy);
  return isObject ? { ...copy, unevaluatedProperties: false } : copy;
}

test("each answer of the API matches its description", {
  skip: lacks("gearmand", "gearman"),
}, async (t) => {
  await using lab = await WebLab.start(yaml(await freePort()));
  await lab.run("full", "uuid-1");
  await lab.run("broken", "uuid-2");
  const running = await lab.submit("long", "uuid-3");
  await running.said("at work");
  const describe = { name: "full", number: 1, html_description: "<b>as it <i>is</i></b>" };
  await gearman(lab.gearmand, ["-f", "set_description:box", JSON.stringify(describe)]);

  const document = await lab.json("/api/openapi.json");
  await t.test("the document is valid OpenAPI", async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors));
  });

  const { schemas } = document.components as { schemas: Record<string, unknown> };
  const ajv = new Ajv2020({
    allErrors: true,
    allowUnionTypes: true,
    strictTypes: false,
    formats: { "date-time": /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ },
  });
  ajv.addKeyword("components");
  ajv.addSchema({ $id: "api", components: { schemas: open(schemas) } } as AnySchema);
  const conforms = (path: string, value: unknown, schema: unknown) => {
    const text = JSON.stringify(schema).replaceAll('"#/components', '"api#/components');
    const validate = ajv.compile(JSON.parse(text));
    assert.ok(validate(value), `${path}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value)}`);
  };
  const requests = new Map<string, string[]>([
    ["/api/status", ["/api/status"]],
    ["/api/builds", ["/api/builds", "/api/builds?job=full&limit=1", "/api/builds?job=full&before=1"]],
    ["/api/builds/{job}/{number}", ["/api/builds/full/1", "/api/builds/broken/1", "/api/builds/long/1"]],
    ["/api/builds/{job}/{number}/tests", ["/api/builds/full/1/tests"]],
    ["/api/builds/{job}/{number}/lines", ["/api/builds/full/1/lines", "/api/builds/full/1/lines?from=-1"]],
    ["/api/builds/{job}/{number}/search", ["/api/builds/full/1/search?q=LINE"]],
    ["/api/builds/{job}/{number}/sections", ["/api/builds/full/1/sections", "/api/builds/long/1/sections"]],
    ["/api/builds/{job}/{number}/errors", ["/api/builds/full/1/errors", "/api/builds/full/1/errors?from=3"]],
    ["/api/jobs", ["/api/jobs"]],
    ["/api/jobs/{job}", ["/api/jobs/full", "/api/jobs/on-board"]],
    ["/api/devices", ["/api/devices"]],
    ["/api/devices/{name}", ["/api/devices/board-1"]],
    [
      "/api/devices/{name}/history",
      ["/api/devices/board-1/history", "/api/devices/board-1/history?days=400"],
    ],
    ["/api/lab", ["/api/lab"]],
    ["/api/openapi.json", ["/api/openapi.json"]],
  ]);
  for (const { path, answer, errors = [] } of operations.filter(({ answer }) => answer !== undefined)) {
    await t.test(path, async () => {
      const paths = requests.get(path);
      assert.ok(paths, `${path} is requested here`);
      for (const each of paths) conforms(each, await lab.json(each), answer);
      if (!errors.includes(404)) return;
      const missing = path.replace(/\{\w+\}/, "none").replace(/\{\w+\}/, "7");
      const { status, body } = await lab.get(`${missing}?q=x`);
      assert.equal(status, 404);
      conforms(missing, JSON.parse(body.toString()), { $ref: "#/components/schemas/Error" });
    });
  }

  await t.test("the answers are correct", async () => {
    const build = await lab.json("/api/builds/full/1");
    assert.equal(build.result, "SUCCESS");
    assert.equal(build.description, "<b>as it <i>is</i></b>");
    assert.deepEqual(build.artifacts, [{ path: "out/a.txt", size: 5, type: "text/plain; charset=utf-8" }]);
    const { totals, cases } = (await lab.json("/api/builds/full/1/tests")) as {
      totals: Record<string, number>;
      cases: { name: string; status: string }[];
    };
    assert.deepEqual([totals.tests, totals.failures, totals.time], [2, 1, 0.5]);
    assert.deepEqual(cases.map(({ name, status }) => [name, status]).toSorted(), [
      ["bad", "failed"],
      ["good", "passed"],
    ]);
    const { builds } = (await lab.json("/api/builds")) as { builds: Record<string, unknown>[] };
    assert.deepEqual(
      builds.map(({ job, running }) => [job, running !== undefined]),
      [
        ["long", true],
        ["broken", false],
        ["full", false],
      ],
    );
    const { lines, total } = (await lab.json("/api/builds/full/1/lines")) as {
      lines: { text: string }[];
      total: number;
    };
    assert.deepEqual([lines[0]?.text, total], ["one line", lines.length]);
    assert.ok(lines.some(({ text }) => text.startsWith("half")));
    const { sections } = await lab.json("/api/builds/full/1/sections");
    assert.deepEqual(sections, [{ from: 1, to: 3, title: "one group" }]);
  });

  for (const path of [
    "/api/builds?limit=0",
    "/api/builds?limit=x",
    "/api/builds?before=1",
    "/api/builds/full/1/lines?count=9999",
    "/api/builds/full/1/search?q=",
  ]) {
    await t.test(`${path} is refused with a reason`, async () => {
      const { status, body } = await lab.get(path);
      assert.equal(status, 400);
      assert.match(JSON.parse(body.toString()).error, /must be|needs job/);
    });
  }
});

/** All schemas made strict, except the one that others extend. */
function open(schemas: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [
      name,
      name === "DeviceStatus" ? schema : strict(schema),
    ]),
  );
}
