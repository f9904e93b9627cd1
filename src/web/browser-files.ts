/**
 * The files for the browser: scripts without their types, styles as they are. The bundler replaces this module with one that
 * contains them (packaging/bundle.ts), because the packaged program reads no files of its own.
 */
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** By name; scripts keep their `.ts`, because that is the name they import each other by. */
export const browserFiles: Readonly<Record<string, string>> = readBrowserFiles(
  fileURLToPath(new URL("browser/", import.meta.url)),
);

function readBrowserFiles(folder: string): Record<string, string> {
  const names = readdirSync(folder).filter((name) => /\.(ts|css)$/.test(name));
  return Object.fromEntries(
    names.sort().map((name) => {
      const text = readFileSync(join(folder, name), "utf8");
      return [name, name.endsWith(".ts") ? stripTypeScriptTypes(text) : text];
    }),
  );
}
