/** How a script on this box begins, speaks and ends; real processes. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { RunnerError } from "#/runners/errors.ts";
import { Lab, lacksKind, stopAt } from "../trees/lab.ts";

for (const kind of ["cgroup", "sweep"] as const) {
  const options = { skip: lacksKind(kind) };

  test(`${kind}: exit codes and signals`, options, async () => {
    await using lab = await Lab.open(kind);
    const ends: [string, number | null, string | null][] = [
      ["true", 0, null],
      ["exit 125", 125, null],
      ["false\necho not reached", 1, null],
      ["no-such-command", 127, null],
      ["kill -KILL $$", null, "SIGKILL"],
      ["kill -TERM $$", null, "SIGTERM"],
      ["#!/usr/bin/perl -w\nexit 42", 42, null],
      ["#! /usr/bin/env perl\nexit 43", 43, null],
    ];
    for (const [script, code, signal] of ends) {
      const { ending, text } = lab.run(script);
      const ended = await ending;
      assert.deepEqual(
        [ended.code, ended.signal, ended.stopped],
        [code, signal, false],
        `${script}: ${text()}`,
      );
      assert.doesNotMatch(text(), /not reached/);
    }
  });

  test(`${kind}: stdout and stderr come in order, and can be opened again`, options, async () => {
    await using lab = await Lab.open(kind);
    const run = lab.run(`i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done
echo again >/dev/stderr; echo again >/dev/stdout`);
    assert.equal((await run.ending).code, 0);
    const wanted = Array.from({ length: 200 }, (_, i) => `out ${i}\nerr ${i}\n`).join("");
    assert.equal(run.text(), `${wanted}again\nagain\n`);
  });

  test(`${kind}: a megabyte of any bytes comes as it was sent`, options, async () => {
    await using lab = await Lab.open(kind);
    const run = lab.run("head -c 1048576 /dev/urandom >bytes; cat bytes");
    assert.equal((await run.ending).code, 0);
    const hash = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
    assert.equal(run.bytes().length, 1048576);
    assert.equal(hash(run.bytes()), hash(await readFile(join(lab.folder, "bytes"))));
  });

  test(`${kind}: the environment is what was given`, options, async () => {
    await using lab = await Lab.open(kind);
    const env = { PATH: "/usr/bin:/bin", EMPTY: "", LINES: "a\nb=c", QUOTES: `'"$(x)`, UTF: "ü→" };
    const run = lab.run("#!/usr/bin/perl\nprint map { qq($_=$ENV{$_}\\0) } sort keys %ENV;", { env });
    assert.equal((await run.ending).code, 0);
    const seen = Object.fromEntries(
      run
        .text()
        .split("\0")
        .filter(Boolean)
        .map((one) => /^([^=]*)=(.*)$/s.exec(one)?.slice(1) ?? []),
    );
    if (kind === "sweep") {
      assert.match(seen.LABGEAR_COOKIE, /^lab[0-9a-f]+\.[0-9a-f]{24}$/);
      delete seen.LABGEAR_COOKIE;
    }
    assert.deepEqual(seen, env);
  });

  test(`${kind}: cleaning up within the grace is heard to the end`, options, async () => {
    await using lab = await Lab.open(kind);
    const stop = stopAt("ready");
    const script =
      "trap 'seq 20000; echo cleaned; exit 9' TERM\nsetsid sh -c 'echo ready; exec sleep 3600' &\nwait";
    const ending = await lab.run(script, stop).ending;
    assert.deepEqual([ending.code, ending.stopped, ending.leftovers], [9, true, []]);
    assert.match(stop.text(), /\n19999\n20000\ncleaned\n$/);
    lab.assertNothingLeft();
  });

  test(`${kind}: a child that cleans up longer than the script is waited for`, options, async () => {
    await using lab = await Lab.open(kind);
    const stop = stopAt("ready");
    const child = `perl -e '$|=1; $SIG{TERM} = sub { select undef, undef, undef, 0.3; print "child cleaned\\n"; exit }; print "ready\\n"; sleep 3600'`;
    const ending = await lab.run(`setsid ${child} &\nwait`, stop).ending;
    assert.equal(ending.signal, "SIGTERM");
    assert.deepEqual(ending.leftovers, []);
    assert.match(stop.text(), /child cleaned/);
  });

  test(`${kind}: stopped before it began, and just as it begins`, options, async () => {
    await using lab = await Lab.open(kind);
    const before = lab.run("echo began", { signal: AbortSignal.abort() });
    assert.deepEqual(
      [(await before.ending).stopped, (await before.ending).code, before.text()],
      [true, null, ""],
    );
    for (let i = 0; i < 10; i++) {
      const controller = new AbortController();
      const run = lab.run("sleep 3600", { signal: controller.signal });
      // Earlier and later turns of the start.
      for (let turn = 0; turn < i * 3; turn++) await new Promise(setImmediate);
      controller.abort();
      assert.equal((await run.ending).stopped, true);
      lab.assertNothingLeft();
    }
  });

  test(`${kind}: who throws at the output ends the run and gets the error back`, options, async () => {
    await using lab = await Lab.open(kind);
    const full = new Error("the disk is full");
    const run = lab.run("trap '' TERM PIPE; echo one; sleep 3600", {
      output: async () => {
        throw full;
      },
    });
    await assert.rejects(run.ending, full);
    lab.assertNothingLeft();
  });

  test(`${kind}: what the box can't do is an error of its own`, options, async () => {
    await using lab = await Lab.open(kind);
    const fails = async (code: string, message: RegExp, script: string, options = {}) =>
      await assert.rejects(lab.run(script, options).ending, (error) => {
        assert.ok(error instanceof RunnerError);
        assert.equal(error.code, code);
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /\n/);
        return true;
      });
    await fails("INTERPRETER", /\/no\/such/, "#!/no/such\n");
    await fails("INTERPRETER", /is not an absolute path/, "#!perl\n");
    await fails("INTERPRETER", /is not an absolute path/, "#!\n");
    await fails("INTERPRETER", /is not a program/, "#!/usr\n");
    await fails("SCRIPT", /ENOENT/, "true", { scriptFile: join(lab.folder, "none", "script") });
    await fails("START", /E2BIG.*too large/, "true", { env: { BIG: "x".repeat(200_000) } });
    await fails("START", /no\/where/, "true", { cwd: join(lab.folder, "no", "where") });
    lab.assertNothingLeft();
  });

  test(`${kind}: the script is written afresh, never through a link`, options, async () => {
    await using lab = await Lab.open(kind);
    const victim = join(lab.folder, "victim");
    await writeFile(victim, "precious");
    await symlink(victim, join(lab.folder, "script"));
    assert.equal((await lab.run("exit 3").ending).code, 3);
    assert.equal(await readFile(victim, "utf8"), "precious");
  });

  test(
    `${kind}: children are first in line when memory runs out, and get an open umask`,
    options,
    async () => {
      await using lab = await Lab.open(kind);
      const run = lab.run(
        "cat /proc/self/oom_score_adj; umask; ulimit -S -c; ls /proc/self/fd | tr '\\n' ' '",
      );
      await run.ending;
      assert.match(run.text(), /^500\n0022\n0\n0 1 2 (3 )?/);
    },
  );

  test(`${kind}: limits hold, or a warning says that they don't`, options, async () => {
    await using lab = await Lab.open(kind);
    const script = "i=0; while [ $i -lt 60 ]; do sleep 3600 & i=$((i+1)); done; echo all 60";
    const run = lab.run(script, { limits: { processes: 20, memory: 2 ** 28, cpu: 0.5 } });
    const ending = await run.ending;
    const unenforced = ending.warnings.some((line) => /limit of processes isn't enforced: ./.test(line));
    if (unenforced) assert.match(run.text(), /all 60/);
    else assert.doesNotMatch(run.text(), /all 60/);
    if (kind === "sweep") assert.equal(ending.warnings.length, 3);
    lab.assertNothingLeft();
  });

  test(`${kind}: a storm of forks is ended`, options, async () => {
    await using lab = await Lab.open(kind);
    const stop = stopAt("ready");
    // Each of two replaces itself by a child, as fast as it can: nobody stands still. It ends by itself if we fail.
    const storm = `#!/usr/bin/perl
$| = 1; for (1..2) { next if fork; for (1..3000) { exit if fork; } exit; }
print "ready\\n"; sleep 60;`;
    const ending = await lab.run(storm, { ...stop, graceMs: 50 }).ending;
    assert.equal(ending.stopped, true);
    assert.deepEqual(ending.survivors, []);
    lab.assertNothingLeft();
  });
}

test("cgroup: a script without limits may have 4096 processes where that can be enforced, and no warning elsewhere", {
  skip: lacksKind("cgroup"),
}, async () => {
  await using lab = await Lab.open("cgroup");
  const group = "$(sed -n s/^0:://p /proc/self/cgroup)/pids.max";
  const run = lab.run(`cat /sys/fs/cgroup${group} /sys/fs/cgroup/unified${group} 2>&1`);
  assert.deepEqual((await run.ending).warnings, []);
  if (!/No such file.*No such file/s.test(run.text())) assert.match(run.text(), /^4096$/m);
});

test("a slow consumer makes the script wait instead of filling memory", {
  skip: lacksKind("cgroup"),
}, async () => {
  await using lab = await Lab.open("cgroup");
  const before = process.memoryUsage().rss;
  let peak = 0;
  let size = 0;
  const run = lab.run("yes 'a line of some length' | head -c 200000000", {
    output: async (chunk) => {
      size += chunk.length;
      peak = Math.max(peak, process.memoryUsage().rss);
      await new Promise(setImmediate);
    },
  });
  assert.equal((await run.ending).code, 0);
  assert.equal(size, 200_000_000);
  assert.ok(peak - before < 100e6, `memory grew by ${peak - before} bytes`);
});

test("a consumer slower than the bound on silence still gets everything", {
  skip: lacksKind("cgroup"),
}, async () => {
  await using lab = await Lab.open("cgroup");
  let size = 0;
  const run = lab.run("head -c 200000 /dev/zero", {
    output: async (chunk) => {
      size += chunk.length;
      if (size === chunk.length) await new Promise((resolve) => setTimeout(resolve, 2500));
    },
  });
  assert.equal((await run.ending).code, 0);
  assert.equal(size, 200_000);
});
