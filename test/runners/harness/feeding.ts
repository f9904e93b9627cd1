/** Feeds harnesses in pieces of odd sizes: what they say must not depend on how the bytes were cut. */
import assert from "node:assert/strict";
import type { VerdictConfig } from "#/config/model.ts";
import type { TestCase, Verdict } from "#/runners/harness/convention.ts";
import { Harness } from "#/runners/harness/harness.ts";

export interface Reading {
  readonly verdict: Verdict;
  readonly cases: readonly TestCase[];
  /** There was a verdict before the time was up. */
  readonly said: boolean;
}

/** Reads the text in pieces of 1, 2, 3, 7, 64 bytes and as a whole, and gives what all of them agree on. */
export function read(
  config: VerdictConfig | "zephyr" | "unity" | "tap",
  text: string | Buffer,
  start?: string,
): Reading {
  const bytes = Buffer.from(text as string);
  const readings = [1, 2, 3, 7, 64, bytes.length + 1].map((size): Reading => {
    const harness = new Harness(typeof config === "string" ? { kind: config } : config, start);
    for (let at = 0; at < bytes.length; at += size) harness.feed(bytes.subarray(at, at + size));
    const said = harness.verdict !== undefined;
    const verdict = harness.end();
    return { verdict, cases: harness.cases, said };
  });
  const [first, ...others] = readings;
  assert.ok(first);
  for (const other of others) assert.deepEqual(other, first);
  return first;
}

export const lines = (...all: string[]): string => all.map((line) => `${line}\r\n`).join("");
