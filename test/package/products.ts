/** The packages that the tests install, made once for the sources as they are. */
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import packageJson from "../../package.json" with { type: "json" };

const root = new URL("../..", import.meta.url).pathname;
const folder = join(root, "test/.out/package");

export const version: string = packageJson.version;
/** A version that is newer than this one. */
export const nextVersion = `${version}+next`;

export interface Products {
  /** As `npm run package` makes them. */
  readonly dist: string;
  /** The Debian packages of the two versions for amd64, packed without compression. */
  readonly now: string;
  readonly next: string;
}

/** How long making them may take at most, in milliseconds. */
export const making = 900_000;

/** Makes the products, or takes those that another test made of the same sources; only one makes them at a time. */
export async function products(): Promise<Products> {
  mkdirSync(folder, { recursive: true });
  const key = hashOfSources();
  const made = join(folder, key);
  if (!existsSync(made)) {
    const maker = new URL("make-products.ts", import.meta.url).pathname;
    const node = [process.execPath, "--disable-warning=ExperimentalWarning", maker, made];
    await execa("flock", [join(folder, "lock"), ...node], { cwd: root });
  }
  return {
    dist: join(made, "dist"),
    now: join(made, "now", `labgear_${version}_amd64.deb`),
    next: join(made, "next", `labgear_${nextVersion}_amd64.deb`),
  };
}

/** For the maker: the folder is there only when all of it is. */
export async function makeOnce(made: string, make: (fresh: string) => Promise<void>): Promise<void> {
  if (existsSync(made)) return;
  // What was made of older sources is of no use any more.
  for (const old of globSync(join(folder, "*/"))) rmSync(old, { recursive: true, force: true });
  const fresh = `${made}.new`;
  mkdirSync(fresh, { recursive: true });
  await make(fresh);
  renameSync(fresh, made);
}

function hashOfSources(): string {
  const hash = createHash("sha256");
  const patterns = ["src/**", "packaging/**", "systemd/**", "package*.json", "README.md", "CHANGELOG.md"];
  for (const path of globSync(patterns, { cwd: root }).sort()) {
    const file = join(root, path);
    if (statSync(file).isFile()) hash.update(`${path}\0`).update(readFileSync(file));
  }
  return hash.digest("hex").slice(0, 16);
}

/**
 * For a test's `skip` option: false where all these programs are there and we are root, else the reason. With CI set a lack
 * is an error.
 */
export function lacksPrograms(...names: string[]): string | false {
  const missing = names.filter(
    (name) => !["/usr/bin", "/usr/sbin"].some((path) => existsSync(join(path, name))),
  );
  const reasons = missing.length > 0 ? [`${missing.join(", ")} can't be found`] : [];
  if (process.getuid?.() !== 0) reasons.push("only root can do it");
  if (reasons.length === 0) return false;
  const reason = `NOT TESTED HERE: ${reasons.join("; ")}; sudo apt-get install debhelper lintian mmdebstrap systemd-container binutils-aarch64-linux-gnu qemu-user-static`;
  if (process.env.CI) throw new Error(reason);
  return reason;
}
