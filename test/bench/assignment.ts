/**
 * How long a client waits from its submit to the first data, on an idle box: the agent, which by then has given the build a
 * number that outlives a crash, beside a bare Perl worker that answers at once. Bounded in count.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Client } from "#/gearman/client/client.ts";
import { TestAgent } from "../support/agent.ts";
import { partsEnv } from "../support/parts.ts";
import { startGearmand } from "../support/servers.ts";

const rounds = 200;
const worker = `use Gearman::Worker; $| = 1;
my $w = Gearman::Worker->new(job_servers => ["127.0.0.1:$ARGV[0]"]);
$w->register_function(peer => sub { "answer" });
print "ready\\n"; $w->work while 1;`;

await using server = await startGearmand();
await using agent = await TestAgent.start({
  yaml: 'name: bench\nhost: { classes: [bench] }\nbuilds: { keep: 10 }\njobs: { quick: { run: "true" } }\n',
  ports: [server.port],
});
const peer = spawn("perl", ["-e", worker, String(server.port)], {
  env: partsEnv,
  stdio: ["ignore", "pipe", "inherit"],
});
try {
  await once(peer.stdout, "data");
  await using client = await Client.connect({ host: "127.0.0.1", port: server.port });
  const ours = await measure(client, "build:quick:bench");
  const theirs = await measure(client, "peer");
  console.log(
    `labgear, first data:        median ${ours.median.toFixed(2)} ms, 95th percentile ${ours.p95.toFixed(2)} ms`,
  );
  console.log(
    `Perl worker, first answer:  median ${theirs.median.toFixed(2)} ms, 95th percentile ${theirs.p95.toFixed(2)} ms`,
  );
  console.log(`ratio of medians: ${(ours.median / theirs.median).toFixed(2)}`);
} finally {
  peer.kill("SIGKILL");
}
await agent.end();

/** Milliseconds from submit to the first event, one job after the other. */
async function measure(client: Client, name: string): Promise<{ median: number; p95: number }> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now();
    let first: number | undefined;
    for await (const _ of await client.submit({ function: name, data: "{}" }))
      first ??= performance.now() - begun;
    times.push(first ?? Number.NaN);
  }
  times.sort((a, b) => a - b);
  return { median: times[rounds / 2] ?? 0, p95: times[Math.floor(rounds * 0.95)] ?? 0 };
}
