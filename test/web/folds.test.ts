/** Which row of a console shows which line, while sections are folded and unfolded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Folds } from "#/web/browser/folds.ts";
import { seeded } from "../support/random.ts";

const section = (from: number, to: number | null) => ({ from, to, title: `${from}` });

/** The lines that are shown. */
function lines(folds: Folds, total: number): number[] {
  const end = folds.rowOf(total - 1) + 1;
  return Array.from({ length: end }, (_, row) => folds.lineOf(row));
}

test("a folded section is its heading; one within is folded with it", () => {
  const folds = new Folds();
  folds.set([section(1, 6), section(2, 4), section(8, null)]);
  folds.toggle(2);
  assert.deepEqual(lines(folds, 10), [0, 1, 2, 5, 6, 7, 8, 9]);
  folds.toggle(1);
  assert.deepEqual(lines(folds, 10), [0, 1, 7, 8, 9]);
  assert.equal(folds.rowOf(3), 1, "a hidden line is at its heading");
  folds.toggle(8);
  assert.deepEqual(lines(folds, 10), [0, 1, 7, 8, 9], "it isn't over");
  folds.reveal(3);
  assert.deepEqual(lines(folds, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  folds.setAll(true);
  assert.deepEqual(lines(folds, 10), [0, 1, 7, 8, 9]);
});

test("a section that asks for it is folded once, and not again when more come", () => {
  const folds = new Folds();
  const asks = { ...section(0, 2), folded: true as const };
  folds.set([asks]);
  assert.deepEqual(lines(folds, 4), [0, 3]);
  folds.toggle(0);
  folds.set([asks, section(3, 5)]);
  assert.deepEqual(lines(folds, 6), [0, 1, 2, 3, 4, 5]);
});

for (const seed of [1, 2, 3]) {
  test(`rows and lines lead back to each other (seed ${seed})`, () => {
    const random = seeded(seed);
    const folds = new Folds();
    const sections: ReturnType<typeof section>[] = [];
    for (let from = 0; from < 500; ) {
      const to = from + 1 + random(20);
      sections.push(section(from, to));
      if (to - from > 4) sections.push(section(from + 1, to - 1));
      from = to + 1 + random(10);
    }
    folds.set(sections);
    for (const { from } of sections) if (random(2) === 0) folds.toggle(from);
    const shown = lines(folds, 600);
    for (const [row, line] of shown.entries()) assert.equal(folds.rowOf(line), row);
    assert.deepEqual(
      shown,
      [...new Set(shown)].sort((a, b) => a - b),
    );
  });
}
