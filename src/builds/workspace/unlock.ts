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
 * Standard input has the paths, each with a letter before it: o, it alone; a, all below as well. find(1) says what it opens: mode, inode,
 * time of the last change, path; and it looks into a folder after it has opened it.
 */
const openScript = (what: "read" | "write") => {
  const [folder, file] = what === "read" ? ["rx", "r"] : ["rwx", "rw"];
  const [lacksFolder, lacksFile] = what === "read" ? ["5", "4"] : ["7", "6"];
  return `exec xargs -0 -r sh -c 'for path in "$@"; do
    case $path in o*) depth="-maxdepth 0" ;; *) depth= ;; esac
    find "./\${path#?}" $depth -xdev \\( -type d ! -perm -00${lacksFolder} -o -type f ! -perm -00${lacksFile} \\) -printf "%m %i %C@ %p\\0" \\
      \\( -type d -exec chmod u+${folder},o+${folder} {} \\; -o -exec chmod u+${file},o+${file} {} \\; \\)
  done' sh`;
};

/** Standard input has modes and paths by turns. */
const closeScript = "exec xargs -0 -r -n 2 chmod --";

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
  const wanted = new Set<string>();
  for (const path of paths) {
    const names = path.split("/");
    for (let count = 1; count < names.length; count++) wanted.add(`o${names.slice(0, count).join("/")}\0`);
    wanted.add(`a${path}\0`);
  }
  const run = (script: string, input: readonly string[]) =>
    runAsJob(trees, workspace, script, input.join(""), signal);
  const listed = await run(openScript(what), [...wanted]);
  const opened = listed.split("\0").flatMap((line) => {
    const [, mode = "", inode = "0", seconds = "0", fraction = "", path = ""] =
      /^(\d+) (\d+) (\d+)\.?(\d*) (.*)$/s.exec(line) ?? [];
    const changed = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, "0"));
    return path === "" ? [] : [{ mode, inode: BigInt(inode), changed, path }];
  });
  return {
    changed: new Map(opened.map(({ inode, changed }) => [inode, changed])),
    async [Symbol.asyncDispose]() {
      // What is below goes first.
      await run(
        closeScript,
        opened.reverse().map(({ mode, path }) => `${mode}\0${path}\0`),
      );
    },
  };
}

async function runAsJob(
  trees: CommandTrees,
  workspace: string,
  script: string,
  input: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  if (input === "") return "";
  await using tree = await trees.create("unlock", {}, workspace, "build");
  const env = { ...baseEnvironment(), LC_ALL: "C" };
  const child = await tree.run({ argv: ["/bin/sh", "-c", script], cwd: workspace, env, input });
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
