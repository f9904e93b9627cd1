/** The embedded job server with the usual Gearman programs; the same tests run against gearmand, with the same outcome. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { execa, type ResultPromise } from "execa";
import { JobServer } from "#/gearman/server/server.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { bounded, startGearmand, temporaryFolder } from "../support/servers.ts";
import { Peer } from "./peer.ts";

type Started = AsyncDisposable & { readonly port: number };

async function startOurs(): Promise<Started> {
  const server = new JobServer({ software: "labgear 1.2.3" });
  const { port } = await server.listen({ port: 0 });
  return { port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const servers: [name: string, start: () => Promise<Started>][] = [
  ["labgear", startOurs],
  ["gearmand", startGearmand],
];

const options = {
  env: partsEnv,
  reject: false,
  timeout: 60_000,
  killSignal: "SIGKILL",
  stdin: "ignore",
} as const;

/** Runs a Gearman program to its end; returns exit code and output. */
async function run(program: "gearman" | "gearadmin", port: number, ...args: string[]) {
  const result = await execa(part(program), ["-h", "127.0.0.1", "-p", `${port}`, ...args], options);
  return { code: result.exitCode, out: result.stdout };
}

/** A program that runs until it ends by itself or the scope does. */
class Running implements AsyncDisposable {
  readonly child: ResultPromise<typeof options>;
  readonly #lines: AsyncIterator<string>;

  constructor(file: string, args: readonly string[]) {
    this.child = execa(file, args, options);
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    return (await bounded(this.#lines.next())).value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child;
  }
}

const gearman = (port: number, ...args: string[]) =>
  new Running(part("gearman"), ["-h", "127.0.0.1", "-p", `${port}`, ...args]);
const perl = (port: number, ...code: string[]) =>
  new Running("perl", ["-e", code.join("\n"), `127.0.0.1:${port}`]);

const perlClient = [
  "use Gearman::Client; $| = 1; my $client = Gearman::Client->new(job_servers => [$ARGV[0]]);",
  "my ($set, @got) = $client->new_task_set;",
  'for (1, 2) { $set->add_task("up", "same", { uniq => "u", on_complete => sub { my $got = shift; push @got, $$got } }) }',
  'print "submitted\\n"; $set->wait; print "@got\\n";',
  'my $again = $client->do_task("up", "again"); print "$$again\\n";',
];
const perlWorker = [
  "use Gearman::Worker; my $worker = Gearman::Worker->new(job_servers => [$ARGV[0]]); my $runs = 0;",
  '$worker->register_function("up", 60, sub { $_[0]->set_status(1, 2); uc($_[0]->arg) . ++$runs });',
  "$worker->work while 1;",
];

for (const [name, start] of servers) {
  describe(`programs on ${name}`, {
    skip: lacks("gearman", "gearadmin", "gearmand", "perlGearmanClient"),
  }, () => {
    test("a client gets its worker's answer, again and again, and a failure as exit code 1", async () => {
      await using server = await start();
      await using worker = gearman(server.port, "-w", "-c", "2", "-f", "up", "--", "tr", "a-z", "A-Z");
      const uuid = "0123456789abcdef0123456789abcdef";
      assert.deepEqual(await run("gearman", server.port, "-f", "up", "-u", uuid, "one"), {
        code: 0,
        out: "ONE",
      });
      assert.deepEqual(await run("gearman", server.port, "-f", "up", "-I", "two"), { code: 0, out: "TWO" });
      await worker.child;
      await using failing = gearman(server.port, "-w", "-c", "1", "-f", "no", "--", "false");
      assert.equal((await run("gearman", server.port, "-f", "no", "x")).code, 1);
      await failing.child;
    });

    test("background jobs wait for their worker, which gets them by priority, then by age", async () => {
      await using server = await start();
      await using folder = await temporaryFolder();
      const file = join(folder.path, "order");
      for (const [flag, data] of [
        ["-L", "low"],
        ["", "normal"],
        ["-I", "high"],
        ["-I", "high2"],
      ]) {
        const args = ["-b", "-f", "list", ...(flag ? [flag] : []), data ?? ""];
        assert.equal((await run("gearman", server.port, ...args)).code, 0);
      }
      assert.equal((await run("gearadmin", server.port, "--priority-status")).out, "list\t2\t1\t1\t0\n.");
      const command = ["--", "sh", "-c", `cat >>"${file}"; echo >>"${file}"`];
      await using worker = gearman(server.port, "-w", "-c", "4", "-f", "list", ...command);
      await worker.child;
      assert.equal(await readFile(file, "utf8"), "high\nhigh2\nnormal\nlow\n");
    });

    test("when a worker is killed, the next one does the job and the client gets its answer", async () => {
      await using server = await start();
      const onLine = ["-n", "-f", "boot", "--", "sh", "-c"];
      await using first = gearman(server.port, "-w", ...onLine, "echo $$; exec sleep 20");
      await using client = gearman(server.port, "-f", "boot", "x");
      const sleeper = Number(await client.line());
      first.child.kill("SIGKILL");
      process.kill(sleeper, "SIGKILL");
      await first.child;
      await using second = gearman(server.port, "-w", "-c", "1", ...onLine, "echo done");
      assert.equal(await client.line(), "done");
      assert.equal((await client.child).exitCode, 0);
      await second.child;
    });

    test("the Perl client and worker: two tasks of one unique are one run", async () => {
      await using server = await start();
      await using client = perl(server.port, ...perlClient);
      assert.equal(await client.line(), "submitted");
      await using _worker = perl(server.port, ...perlWorker);
      assert.equal(await client.line(), "SAME1 SAME1");
      assert.equal(await client.line(), "AGAIN2");
      assert.equal((await client.child).exitCode, 0);
    });

    test("an administrator's view of functions, workers and jobs", async () => {
      await using server = await start();
      await using worker = await Peer.connect(server.port);
      await using client = await Peer.connect(server.port);
      worker.send("SET_CLIENT_ID", "box").send("CAN_DO", "f").send("CAN_DO_TIMEOUT", "g", "60");
      worker.send("ECHO_REQ", "registered");
      assert.equal(await worker.next(), "ECHO_RES registered");
      client.send("SUBMIT_JOB", "f", "u1", "").send("SUBMIT_JOB", "f", "u2", "");
      const [, running = ""] = (await client.next()).split(" ");
      const [, queued = ""] = (await client.next()).split(" ");
      worker.send("GRAB_JOB");
      assert.match(await worker.next(), /^JOB_ASSIGN/);
      const admin = (...args: string[]) => run("gearadmin", server.port, ...args);
      const sorted = async (...args: string[]) => (await admin(...args)).out.split("\n").sort();
      assert.deepEqual(await sorted("--status"), [".", "f\t2\t1\t1", "g\t0\t0\t1"]);
      assert.deepEqual(await sorted("--show-jobs"), [".", `${running}\t0\t0\t0`, `${queued}\t0\t0\t0`]);
      assert.deepEqual(await sorted("--show-unique-jobs"), [".", "u1", "u2"]);
      assert.match((await admin("--workers")).out, /^\d+ 127\.0\.0\.1 box : (f g|g f)$/m);
      assert.equal((await admin(`--cancel-job=${queued}`)).code, 0);
      assert.equal(await client.next(), `WORK_FAIL ${queued}`);
      assert.equal((await admin("--drop-function=f")).out, "");
      worker.send("GRAB_JOB").send("WORK_COMPLETE", running, "");
      assert.equal(await worker.next(), "NO_JOB");
      assert.match(await client.next(), new RegExp(`^WORK_COMPLETE ${running}`));
      const lasting = await admin("--status");
      assert.match(lasting.out, /^f\t0\t0\t1$/m);
    });

    test("admin commands between packets", async () => {
      await using server = await start();
      await using peer = await Peer.connect(server.port);
      const seen: string[] = [];
      for (const line of conversation) seen.push(...(await peer.ask(line)));
      assert.deepEqual(seen, answers);
      peer.send("GET_STATUS", "H:none").send("OPTION_REQ", "exceptions").send("OPTION_REQ", "others");
      peer.send("WORK_COMPLETE", "H:none", "").send("CAN_DO", "f").send("GRAB_JOB").send("PRE_SLEEP");
      peer.send("SUBMIT_JOB_BG", "f", "", "");
      assert.equal(await peer.next(), "STATUS_RES H:none 0 0 0 0");
      assert.equal(await peer.next(), "OPTION_RES exceptions");
      assert.equal(await peer.next(), "ERROR UNKNOWN_OPTION Server does not recognize given option");
      assert.equal(await peer.next(), "ERROR JOB_NOT_FOUND Job given in work result not found");
      assert.equal(await peer.next(), "NO_JOB");
      assert.deepEqual([await peer.next(), await peer.next()].map((item) => item.split(" ")[0]).sort(), [
        "JOB_CREATED",
        "NOOP",
      ]);
    });
  });
}

const conversation = [
  "status",
  "prioritystatus",
  "show jobs",
  "show unique jobs",
  "show nonsense",
  "cancel job H:none:1",
  "drop function none",
  "create function f1",
  "create function f1",
];
const answers = [
  ".",
  ".",
  ".",
  ".",
  "ERR UNKNOWN_SHOW_ARGUMENTS",
  "ERR UNKNOWN_JOB",
  "ERR function not found",
  "OK",
  "OK",
];

test("gearadmin reads our version", { skip: lacks("gearadmin") }, async () => {
  await using server = await startOurs();
  assert.deepEqual(await run("gearadmin", server.port, "--server-version"), {
    code: 0,
    out: "labgear 1.2.3",
  });
});
