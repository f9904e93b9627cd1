/** Loaded into an agent that is measured: how long its event loop was held up, at its end, into the file $BENCH_EVENT_LOOP. */
import { writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

const file = process.env.BENCH_EVENT_LOOP;
const resolution = 1;
const delays = monitorEventLoopDelay({ resolution });
// Not the start, which is measured elsewhere.
process.on("SIGUSR2", () => delays.enable());
process.on("exit", () => {
  const held = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolution);
  const text = JSON.stringify({ p99: held(delays.percentile(99)), max: held(delays.max) });
  if (file) writeFileSync(file, text);
});
