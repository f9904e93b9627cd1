/** A temporary folder with files for one test. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface Folder extends Disposable {
  readonly path: string;
  /** @returns the absolute path of a name in the folder */
  readonly at: (name: string) => string;
}

/** @param files names, with slashes for folders, and what is in them */
export function folder(files: Readonly<Record<string, string>> = {}): Folder {
  const path = mkdtempSync(join(tmpdir(), "labgear-config-"));
  const at = (name: string): string => join(path, name);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(at(name)), { recursive: true });
    writeFileSync(at(name), text);
  }
  return { path, at, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
