/** What the browser is given. In the packaged program this file is replaced by one that has all of it inside. */
import { readBrowserFiles } from "./read.ts";

export const browserFiles: Readonly<Record<string, string>> = readBrowserFiles();
