/** A process of its own for products.ts, so that flock(1) can let in one at a time. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { makeProducts } from "../../packaging/make.ts";
import { makeOnce, nextVersion, version } from "./products.ts";

const [, , made = ""] = process.argv;
const root = new URL("../..", import.meta.url).pathname;

await makeOnce(made, async (fresh) => {
  await execa("npm", ["run", "-s", "package"], { cwd: root, stdin: "ignore" });
  cpSync(join(root, "dist"), join(fresh, "dist"), { recursive: true });
  const common = {
    architectures: ["x64"] as const,
    codeCache: true,
    compression: "none" as const,
    epoch: 1e9,
  };
  await makeProducts({ ...common, dist: join(fresh, "now"), version });
  await makeProducts({ ...common, dist: join(fresh, "next"), version: nextVersion });
});
