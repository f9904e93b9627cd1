/** From a validated entry of `jobs` to the job that the program uses. */

import { parseShare } from "#/lib/units.ts";
import { defaults } from "../defaults.ts";
import type { JobConfig, JobWork, LimitsConfig, StepConfig, VerdictConfig } from "../model.ts";
import { bytes, checked, milliseconds } from "../values.ts";
import type { FirmwareDocument } from "./firmware.ts";
import type { JobDocument } from "./job.ts";
import type { StepDocument } from "./steps.ts";

/** @param entry has passed the schema and the semantic checks */
export function resolveJob(name: string, entry: JobDocument): JobConfig {
  return {
    name,
    ...(entry.nodes && { nodes: entry.nodes }),
    work: work(entry),
    checkout: entry.checkout ?? false,
    timeout: milliseconds(entry.timeout ?? defaults.timeout),
    grace: milliseconds(entry.grace ?? defaults.grace),
    artifacts: entry.artifacts ?? [],
    junit: entry.junit ?? [],
    limits: limits(entry.limits ?? {}),
    parameters: entry.parameters ?? [],
  };
}

function work({ run, shell, steps, firmware, put = [], get = [] }: JobDocument): JobWork {
  if (run !== undefined) return { kind: "run", script: run };
  if (shell !== undefined) return { kind: "shell", script: shell, put, get };
  if (steps) return { kind: "steps", steps: steps.map((entry) => checked(step(entry), "a step")) };
  return firmwareWork(checked(firmware, "a job"));
}

function firmwareWork({ build, flash, verdict, timeout, start, lend }: FirmwareDocument): JobWork {
  return {
    kind: "firmware",
    ...(build !== undefined && { build }),
    flash,
    verdict: verdictOf(verdict),
    timeout: milliseconds(timeout ?? defaults.verdictTimeout),
    ...(start !== undefined && { start }),
    lend: lend ?? false,
  };
}

function verdictOf(verdict: FirmwareDocument["verdict"]): VerdictConfig {
  return typeof verdict === "string" ? { kind: verdict } : { kind: "patterns", ...verdict };
}

function step(entry: StepDocument): StepConfig | undefined {
  const { name, timeout } = entry;
  const named = name === undefined ? {} : { name };
  const within = (usual: string): { timeout: number } => ({ timeout: milliseconds(timeout ?? usual) });
  if (entry.send !== undefined)
    return { ...named, kind: "send", text: entry.send, enter: entry.enter ?? true };
  if (entry.expect !== undefined) {
    const fail = entry.fail === undefined ? {} : { fail: entry.fail };
    return { ...named, kind: "expect", pattern: entry.expect, ...fail, ...within(defaults.expectTimeout) };
  }
  if (entry.run !== undefined)
    return { ...named, kind: "run", command: entry.run.trimEnd(), ...within(defaults.runTimeout) };
  if (entry.login !== undefined) return { ...named, kind: "login", ...within(defaults.loginTimeout) };
  if (entry.sleep !== undefined) return { ...named, kind: "sleep", milliseconds: milliseconds(entry.sleep) };
  if (entry.break !== undefined) return { ...named, kind: "break", milliseconds: milliseconds(entry.break) };
  if (entry.control) return { ...named, ...control(entry.control) };
  if (entry.power) return { ...named, kind: "power", action: entry.power };
  if (entry.reset !== undefined) return { ...named, kind: "reset" };
  if (entry.host !== undefined) return { ...named, kind: "host", script: entry.host };
  if (entry.put) return { ...named, kind: "put", ...entry.put };
  return entry.get && { ...named, kind: "get", ...entry.get };
}

function control({ dtr, rts }: NonNullable<StepDocument["control"]>): {
  kind: "control";
  line: "dtr" | "rts";
  value: boolean;
} {
  const value = dtr ?? rts;
  return {
    kind: "control",
    line: dtr === undefined ? "rts" : "dtr",
    value: value === true || value === "on",
  };
}

function limits(entry: NonNullable<JobDocument["limits"]>): LimitsConfig {
  const { memory, processes, cpu } = entry;
  const share = cpu === undefined ? undefined : parseShare(cpu);
  return {
    ...(memory !== undefined && { memory: bytes(memory) }),
    ...(processes !== undefined && { processes }),
    ...(share !== undefined && { cpu: share }),
  };
}
