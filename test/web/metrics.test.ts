/** The metrics: promtool accepts them, and their values are correct. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { testFolder } from "../support/folders.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { bounded, freePort } from "../support/servers.ts";
import { WebLab } from "./web-lab.ts";

const yaml = (board: number) => `
jobs:
  good: { nodes: [metal], caches: [c], run: 'head -c 3000000 /dev/zero | tee $LABGEAR_CACHE/c/zeros > zeros' }
  bad: { run: "exit 1" }
  'odd"name': { run: "echo at work; sleep 60" }
host: { classes: [metal, other], executors: 2 }
devices:
  board-1: { classes: [boards], port: "tcp://127.0.0.1:${board}", console: raw }
`;

test("metrics", { skip: lacks("gearmand", "promtool") }, async (t) => {
  await using lab = await WebLab.start(yaml(await freePort()));
  await lab.run("good", "uuid-1");
  await lab.run("good:metal", "uuid-2");
  await lab.run("bad", "uuid-3");
  const long = await lab.submit('odd"name', "uuid-4");
  await long.said("at work");
  const { body, headers } = await lab.get("/metrics");
  const text = body.toString();
  assert.match(`${headers["content-type"]}`, /^text\/plain; version=0\.0\.4/);

  await t.test("promtool accepts them", async () => {
    const { stdout, stderr, exitCode } = await execa(part("promtool"), ["check", "metrics"], {
      ...{ input: text, env: partsEnv, reject: false, timeout: 60_000 },
    });
    assert.deepEqual([exitCode, stdout, stderr], [0, "", ""]);
  });

  await t.test(
    "the example alerts and dashboard know no other metrics, and promtool's tests of the alerts pass",
    async () => {
      const examples = new URL("../../packaging/examples/prometheus/", import.meta.url).pathname;
      const options = { cwd: examples, env: partsEnv, reject: false, all: true, timeout: 60_000 } as const;
      for (const args of [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
      ]) {
        const { exitCode, all } = await execa(part("promtool"), args, options);
        assert.equal(exitCode, 0, all);
      }
      const alerts = readFileSync(join(examples, "alerts.yaml"), "utf8");
      const dashboard = readFileSync(join(examples, "grafana.json"), "utf8");
      const { panels } = JSON.parse(dashboard) as { panels: { targets: { expr: string }[] }[] };
      const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
      const rules = expressions.map((expr, index) => ({ record: `panel:${index}`, expr }));
      const input = JSON.stringify({ groups: [{ name: "panels", rules }] }).replaceAll("$instance", ".*");
      using folder = testFolder();
      const file = join(folder.path, "panels.json");
      writeFileSync(file, input);
      const checked = await execa(part("promtool"), ["check", "rules", file], options);
      assert.equal(checked.exitCode, 0, checked.all);
      const used = new Set(`${alerts}${dashboard}`.match(/\blabgear_\w+/g));
      for (const name of used) {
        const metric = name.replace(/_bucket$/, "");
        assert.ok(text.includes(`# TYPE ${metric} `), `${name} is a metric`);
      }
    },
  );

  const wanted = [
    'labgear_builds_total{job="good",class="metal",result="SUCCESS"} 2',
    'labgear_builds_total{job="bad",class="metal",result="FAILURE"} 1',
    'labgear_build_duration_seconds_count{job="good",class="metal"} 2',
    'labgear_build_step_seconds_count{job="good",class="metal",step="run"} 2',
    "labgear_builds_running 1",
    "labgear_builds_waiting 0",
    'labgear_executors{node="box"} 2',
    'labgear_executors_busy{node="box"} 1',
    'labgear_node_ready{node="box"} 1',
    'labgear_node_ready{node="board-1"} 0',
    'labgear_device_state{device="board-1",state="absent"} 1',
    'labgear_device_state{device="board-1",state="ready"} 0',
    'labgear_serial_received_bytes_total{device="board-1"} 0',
    "# HELP labgear_serial_losses_total How often the port went away, or characters were lost.",
    'labgear_serial_losses_total{device="board-1"} 0',
    `labgear_job_server_connected{server="127.0.0.1:${lab.gearmand}"} 1`,
    "labgear_reconnects_total 0",
    "labgear_viewers 0",
    "labgear_undelivered_endings 0",
    `labgear_disk_min_free_bytes ${2 * 1024 ** 3}`,
    'labgear_node_held{node="board-1",reason="device"} 1',
  ];
  for (const line of wanted) {
    await t.test(line, () => assert.ok(text.split("\n").includes(line), text));
  }
  await t.test("what is free, and what limits are enforced", () => {
    assert.match(text, /^labgear_disk_free_bytes [1-9]\d*$/m);
    for (const limit of ["cpu", "memory", "processes"])
      assert.match(text, new RegExp(`^labgear_limit_enforced{limit="${limit}"} [01]$`, "m"));
  });
  await t.test("what takes the disk's space, once it is measured", { timeout: 120_000 }, async () => {
    const sizes = async () => {
      const found = (await lab.get("/metrics")).body.toString();
      return new Map(
        [...found.matchAll(/^labgear_disk_used_bytes{what="(\w+)"} (\d+)$/gm)].map((one) => [
          one[1],
          Number(one[2]),
        ]),
      );
    };
    const isThere = (bytes = 0) => bytes >= 3_000_000 && bytes < 4_000_000;
    // Each look is a request of its own.
    for (
      let used = new Map<string | undefined, number>();
      !(isThere(used.get("workspaces")) && isThere(used.get("caches")) && used.has("builds"));
    )
      used = await sizes();
  });
  await t.test("a reload that is refused, and one that isn't", async () => {
    const reload = async () => {
      await lab.agent.command("reload");
      return (await lab.get("/metrics")).body.toString();
    };
    assert.match(text, /^labgear_last_reload_successful 1$/m);
    assert.match(text, /^labgear_last_reload_timestamp_seconds \d{10}$/m);
    const good = readFileSync(lab.agent.config, "utf8");
    writeFileSync(lab.agent.config, `${good}\nnonsense: 1\n`);
    assert.match(await reload(), /^labgear_last_reload_successful 0$/m);
    writeFileSync(lab.agent.config, good);
    assert.match(await reload(), /^labgear_last_reload_successful 1$/m);
  });
  await t.test("event loop lag", () => assert.match(text, /^labgear_event_loop_lag_p99_seconds [\d.e-]+$/m));

  await t.test("ready only with a job server", async () => {
    assert.deepEqual([(await lab.get("/readyz")).status, (await lab.get("/healthz")).status], [200, 200]);
    await lab.stopGearmand();
    await lab.agent.logged("trying again");
    const { status } = await bounded(lab.get("/readyz"));
    assert.equal(status, 503);
    assert.equal((await lab.get("/healthz")).status, 200);
  });
});
