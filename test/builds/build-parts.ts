/** What tests of builds' records and stores begin with. */
import type { BuildRecord } from "#/builds/record.ts";
import type { NewBuild } from "#/builds/store.ts";

export const facts: NewBuild = {
  job: "unit-tests",
  uuid: "0af2",
  node: "rack7",
  labels: ["x86-64"],
  executor: 0,
  server: "127.0.0.1:4730",
  parameters: { ZUUL_UUID: "0af2" },
};

export function record(more: Partial<BuildRecord> = {}): BuildRecord {
  const assigned = "2026-01-02T03:04:05.678Z";
  return { version: 1, number: 1, url: "http://rack7/builds/unit-tests/1", assigned, ...facts, ...more };
}
