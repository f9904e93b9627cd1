/** A place for scripts to run in: a temporary folder, both kinds of process trees, and a proof that nothing survives. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { type HostRun, runHost } from "#/runners/script/run.ts";
import { detectCgroups } from "#/runners/trees/cgroup.ts";
import { CgroupBase } from "#/runners/trees/cgroup-base.ts";
import { CgroupTrees } from "#/runners/trees/cgroup-tree.ts";
import { Subreaper } from "#/runners/trees/subreaper.ts";
import { SweepTrees } from "#/runners/trees/sweep-tree.ts";
import type { ProcessTrees } from "#/runners/trees/tree.ts";
import { processesMarked } from "../../support/processes.ts";

export type Kind = "cgroup" | "sweep" | "sweep without subreaper";

const home = await detectCgroups();

/** For a test's `skip` option; with CI set a lack is an error. */
export function lacksKind(kind: Kind): string | false {
  if (kind !== "cgroup" || !("unavailable" in home)) return false;
  if (process.env.CI) throw new Error(home.unavailable);
  return `NOT TESTED HERE: ${home.unavailable}`;
}

export class Lab implements AsyncDisposable {
  /** In the path of the folder, and so in the working directory of everything a script starts. */
  readonly marker: string;
  readonly folder: string;
  readonly trees: ProcessTrees;
  readonly #resources: AsyncDisposableStack;

  private constructor(marker: string, folder: string, trees: ProcessTrees, resources: AsyncDisposableStack) {
    this.marker = marker;
    this.folder = folder;
    this.trees = trees;
    this.#resources = resources;
  }

  static async open(kind: Kind): Promise<Lab> {
    const marker = `lab${randomBytes(6).toString("hex")}`;
    const folder = await realpath(await mkdtemp(join(tmpdir(), `${marker}-`)));
    const resources = new AsyncDisposableStack();
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    if (kind === "cgroup") {
      if ("unavailable" in home) throw new Error(home.unavailable);
      const base = resources.use(await CgroupBase.open(home, marker));
      return new Lab(marker, folder, resources.use(new CgroupTrees(base)), resources);
    }
    const wanted = kind === "sweep" ? loadSystemCalls() : undefined;
    const subreaper = resources.use(await Subreaper.become(wanted));
    const trees = resources.use(new SweepTrees({ id: marker, reason: "this test wants none", subreaper }));
    return new Lab(marker, folder, trees, resources);
  }

  /** Runs a script with what a test doesn't say filled in; `text` has its output, as far as it has come. */
  run(script: string, options: Partial<HostRun> = {}) {
    const chunks: Buffer[] = [];
    const ending = runHost({
      script,
      scriptFile: join(this.folder, "script"),
      cwd: this.folder,
      env: { PATH: "/usr/bin:/bin", MARKER: this.marker },
      graceMs: 10_000,
      limits: {},
      name: "test",
      trees: this.trees,
      output: (chunk) => void chunks.push(Buffer.from(chunk)),
      signal: new AbortController().signal,
      ...options,
    });
    return { ending, bytes: () => Buffer.concat(chunks), text: () => Buffer.concat(chunks).toString() };
  }

  /** Fails when any process of this lab still lives. */
  assertNothingLeft(): void {
    assert.deepEqual(processesMarked(this.marker), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** An output that aborts once a word has come: the script says when it is ready to be stopped. */
export function stopAt(word: string): {
  signal: AbortSignal;
  output: (chunk: Buffer) => void;
  text: () => string;
} {
  const controller = new AbortController();
  let text = "";
  return {
    signal: controller.signal,
    output: (chunk) => {
      text += chunk.toString();
      if (text.includes(word)) controller.abort();
    },
    text: () => text,
  };
}
