/**
 * Opens what a job has closed to everyone but its own user, for as long as the agent works on it. The job's user does it, and puts the modes
 * back: the agent has no right to.
 */
import { isUtf8 } from "node:buffer";
import type { CommandTrees } from "../checkout/git.ts";
import { baseEnvironment } from "../environment.ts";

/** Undone when it is disposed of. */
interface Unlocked extends AsyncDisposable {
  /** The time of the last change that files had before, in nanoseconds of Unix time, by inode. */
  readonly changed: ReadonlyMap<bigint, bigint>;
}

/**
 * find(1) says what it opens: mode, inode, time of the last change, path. It opens many at once, but a folder that its owner can't enter
 * before it looks into it.
 */
const openCommand = (what: "read" | "write", paths: string, depth: string) => {
  const [folder, file] = what === "read" ? ["rx", "r"] : ["rwx", "rw"];
  const [lacksFolder, lacksFile] = what === "read" ? ["5", "4"] : ["7", "6"];
  return `find ${paths} ${depth} -xdev \\( -type d ! -perm -00${lacksFolder} -o -type f ! -perm -00${lacksFile} \\) \\
    -printf "%m %i %C@ %p\\0" \\( -type d ! -perm -0500 -exec chmod u+${folder},o+${folder} {} \\; \\
      -o -type d -exec chmod u+${folder},o+${folder} {} + -o -exec chmod u+${file},o+${file} {} + \\)\n`;
};

const closeCommand = (mode: string, paths: string) => `chmod -- ${mode} ${paths}\n`;

/** Of the paths in a command: Linux allows 128 KiB at least, the environment included. */
const maxPathsBytes = 64 * 1024;

const maxListBytes = 16 * 1024 * 1024;

/**
 * @param workspace its real path; nothing of the job runs
 * @param paths relative to it: what couldn't be opened, and whatever is below
 */
export async function unlock(
  trees: CommandTrees,
  workspace: string,
  paths: Iterable<string>,
  { what = "read", signal }: { readonly what?: "read" | "write"; readonly signal?: AbortSignal } = {},
): Promise<Unlocked> {
  const above = new Set<string>();
  const wanted = [...paths];
  for (const path of wanted) {
    const names = path.split("/");
    for (let count = 1; count < names.length; count++) above.add(`./${names.slice(0, count).join("/")}`);
  }
  const script = [
    ...inCommands(above, (some) => openCommand(what, some, "-maxdepth 0")),
    ...inCommands(
      wanted.map((path) => `./${path}`),
      (some) => openCommand(what, some, ""),
    ),
  ];
  const run = (commands: readonly string[], until?: AbortSignal) =>
    runAsJob(trees, workspace, commands.join(""), until);
  const listed = await run(script, signal);
  // A stop may cut the last one, which then names something else. Nothing is opened before it is said in full.
  const lines = listed.split("\0").slice(0, -1);
  const opened = lines.flatMap((line) => {
    const [, mode = "", inode = "0", seconds = "0", fraction = "", path = ""] =
      /^(\d+) (\d+) (\d+)\.?(\d*) (.*)$/s.exec(line) ?? [];
    const changed = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, "0"));
    return path === "" ? [] : [{ mode, inode: BigInt(inode), changed, path }];
  });
  return {
    changed: new Map(opened.map(({ inode, changed }) => [inode, changed])),
    async [Symbol.asyncDispose]() {
      await run(closeCommands(opened));
    },
  };
}

interface Opened {
  readonly mode: string;
  readonly path: string;
}

/** What is below goes first: a folder may be closed to its owner, too. */
function closeCommands(opened: readonly Opened[]): string[] {
  const depths = Map.groupBy(opened, ({ path }) => path.split("/").length);
  return [...depths]
    .sort(([one], [other]) => other - one)
    .flatMap(([, beside]) => [...Map.groupBy(beside, ({ mode }) => mode)])
    .flatMap(([mode, all]) =>
      inCommands(
        all.map(({ path }) => path),
        (paths) => closeCommand(mode, paths),
      ),
    );
}

/** As few commands as can take the paths, quoted. */
function inCommands(paths: Iterable<string>, command: (paths: string) => string): string[] {
  const lists: string[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const path of paths) {
    const quoted = `'${path.replaceAll("'", "'\\''")}'`;
    bytes += Buffer.byteLength(quoted) + 1;
    if (bytes > maxPathsBytes) {
      lists.push([]);
      bytes = Buffer.byteLength(quoted) + 1;
    }
    lists.at(-1)?.push(quoted);
  }
  return lists.map((list) => command(list.join(" ")));
}

async function runAsJob(
  trees: CommandTrees,
  workspace: string,
  /** Arguments have a limit that paths could pass. */
  script: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  if (script === "" || signal?.aborted) return "";
  await using tree = await trees.create("unlock", {}, workspace, "build");
  const env = { ...baseEnvironment(), LC_ALL: "C" };
  const child = await tree.run({ argv: ["/bin/sh"], cwd: workspace, env, input: script });
  const end = () => void tree.kill();
  signal?.addEventListener("abort", end, { once: true });
  try {
    child.stderr.resume();
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxListBytes) break;
      chunks.push(chunk);
    }
    await tree.kill();
    await child.ended;
    const listed = Buffer.concat(chunks);
    // Names in other encodings are never collected.
    return isUtf8(listed) ? listed.toString() : listed.toString().replace(/[^\0]*\ufffd[^\0]*\0/g, "");
  } finally {
    signal?.removeEventListener("abort", end);
  }
}
