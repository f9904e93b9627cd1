/** Tests that only root can do, and pieces of them as another user, who may not do anything. */
import { execa } from "execa";

/** For a test's `skip` option: false for root, else the reason. */
export function lacksRoot(): string | false {
  return process.getuid?.() === 0 ? false : "NOT TESTED HERE: only root can do it";
}

/**
 * @param module in src/builds; its exports are `lib`
 * @param code JavaScript
 * @returns what it printed
 */
export async function asNobody(module: string, code: string): Promise<string> {
  const url = new URL(`../../src/builds/${module}`, import.meta.url).href;
  const script = `import * as lib from ${JSON.stringify(url)};\n${code}`;
  const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
  const node = [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    "--input-type=module",
    "-e",
    script,
  ];
  return (await execa("setpriv", [...nobody, ...node])).stdout;
}
