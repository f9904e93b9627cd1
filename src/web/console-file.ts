/** A build's console as it lies on disk: opened once for each request, and never anything else than that file. */
import type { FileHandle } from "node:fs/promises";
import { openInside } from "#/builds/workspace/workspace.ts";
import { type FoundBuild, realFolder } from "./find-build.ts";

/** @returns undefined: there is none (yet), or what is there is no file */
export async function openConsole(build: FoundBuild): Promise<FileHandle | undefined> {
  return openOf(build, "console.log");
}

/** When the console's bytes came; undefined: that isn't known. */
export async function openTimes(build: FoundBuild): Promise<FileHandle | undefined> {
  return openOf(build, "console.times");
}

async function openOf(build: FoundBuild, name: string): Promise<FileHandle | undefined> {
  const folder = await realFolder(build);
  // A job may have put a link, or a pipe, in its place.
  const file = folder === undefined ? undefined : await openInside(folder, name);
  return typeof file === "string" ? undefined : file;
}

/** How many bytes there are: of a running build those that are surely written. */
export async function sizeOf({ running }: FoundBuild, file: FileHandle): Promise<number> {
  return running?.console?.size ?? (await file.stat()).size;
}
