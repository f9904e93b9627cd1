/** Carries out one build on the host: a script, and what it printed and left. */
import type { Ending } from "#/builds/ending.ts";
import type { HostEnding } from "#/runners/script/run.ts";
import { type CarryOut, carryOut } from "./carry-out.ts";
import type { NodeContext } from "./context.ts";
import { Stage } from "./run-build.ts";

/** How the host carries out builds. */
export function onHost(context: NodeContext): CarryOut {
  return (build, job, parameters) =>
    carryOut(build, job, context, async () => {
      if (job.work.kind !== "run") throw new TypeError(`${job.name} is for a device`);
      await using stage = await Stage.prepare(build, job, parameters, context);
      const ending = await stage.run(job.work.script);
      await stage.collect();
      return scriptEnding(ending);
    });
}

/** How the build ends by how its script did. */
export function scriptEnding({ stopped, oom, signal, code }: HostEnding): Ending {
  if (stopped) return { kind: "stopped", reason: "the job was stopped" };
  if (oom) return { kind: "failed", reason: "the job ran out of the memory that its limits allow" };
  if (signal) return { kind: "failed", reason: `the job was ended by ${signal}`, signal };
  if (code === 0) return { kind: "passed", reason: "the job passed" };
  const reason = `the job ended with exit code ${code}`;
  return { kind: "failed", reason, ...(code !== null && { exitCode: code }) };
}
