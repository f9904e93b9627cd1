/** Reads what the browser is given out of its folder: the scripts without their types, the style as it is. */
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** @returns the files by name; a script keeps its `.ts`, since that is what others import it by */
export function readBrowserFiles(): Record<string, string> {
  const folder = fileURLToPath(new URL("browser/", import.meta.url));
  const names = readdirSync(folder).filter((name) => /\.(ts|css)$/.test(name));
  return Object.fromEntries(
    names.sort().map((name) => {
      const text = readFileSync(join(folder, name), "utf8");
      return [name, name.endsWith(".ts") ? stripTypeScriptTypes(text) : text];
    }),
  );
}
