/** Whatever a script does to get its children out of reach, none survives; real processes. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { all, artists, traceless } from "./artists.ts";
import { Lab, lacksKind, stopAt } from "./lab.ts";

for (const kind of ["cgroup", "sweep"] as const) {
  const options = { skip: lacksKind(kind) };
  for (const [what, script] of Object.entries({ ...artists, "no trace at all": traceless })) {
    test(`${kind}: after a normal end nothing is left of ${what}`, options, async () => {
      await using lab = await Lab.open(kind);
      const ending = await lab.run(`${script}\nexit 7`).ending;
      lab.assertNothingLeft();
      assert.equal(ending.code, 7);
      assert.equal(ending.stopped, false);
      assert.ok(ending.leftovers.length > 0, "what was killed is named");
      assert.deepEqual(ending.survivors, []);
    });
  }

  test(`${kind}: after a stop nothing is left of any of them`, options, async () => {
    await using lab = await Lab.open(kind);
    const stop = stopAt("ready");
    const ending = await lab.run(`${all}\necho ready; sleep 3600`, { ...stop, graceMs: 300 }).ending;
    lab.assertNothingLeft();
    assert.equal(ending.stopped, true);
    assert.equal(ending.code, null);
    assert.equal(ending.signal, "SIGTERM");
    assert.deepEqual(ending.survivors, []);
    assert.ok(ending.leftovers.length > 0, "what is deaf to SIGTERM outlives the grace, and is named");
  });

  test(`${kind}: a build that ends takes nothing of another one with it`, options, async () => {
    await using lab = await Lab.open(kind);
    const [first, second] = [join(lab.folder, "first"), join(lab.folder, "second")];
    await Promise.all([mkdir(first), mkdir(second)]);
    const ready = Promise.withResolvers<void>();
    const long = lab.run(`mkfifo go\n${all}\nsetsid sleep 3601 &\necho ready\nread line <go\nkill -0 $!`, {
      cwd: first,
      scriptFile: join(lab.folder, "first.sh"),
      output: () => ready.resolve(),
    });
    await ready.promise;
    const { leftovers } = await lab.run(`${all}`, { cwd: second, scriptFile: join(lab.folder, "second.sh") })
      .ending;
    assert.ok(leftovers.length >= 9, "its own are all found");
    await writeFile(join(first, "go"), "now\n");
    const ending = await long.ending;
    assert.equal(ending.code, 0, "the first one's child was still there");
    assert.ok(ending.leftovers.length >= 10);
    lab.assertNothingLeft();
  });
}
