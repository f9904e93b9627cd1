/** Plays seeds: `npm run faults -- --seed 7`, or `--from 1 --to 500 --jobs 2`; those that passed with these sources are left out. */
import { parseArgs } from "node:util";
import { playSeeds } from "./seeds.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    from: { type: "string", default: "1" },
    to: { type: "string", default: "500" },
    jobs: { type: "string", default: "2" },
  },
});
const from = Number(values.seed ?? values.from);
const to = Number(values.seed ?? values.to);
const begun = performance.now();
const { failed, played, resumed } = await playSeeds(from, to, {
  jobs: Number(values.jobs),
  again: values.seed !== undefined,
  say: (line) => process.stdout.write(`${line}\n`),
});
const minutes = ((performance.now() - begun) / 60_000).toFixed(1);
process.stdout.write(
  `${played} seeds in ${minutes} min, ${failed.length} failed, ${resumed} passed before\n`,
);
process.exitCode = failed.length > 0 ? 1 : 0;
