/** Gives back to the system what only the start of a program needed: most of what is in memory then. */
import { readFileSync } from "node:fs";
import { execPath } from "node:process";
import type { SystemCalls } from "./syscalls.ts";

/**
 * Returns what the C library keeps of freed memory, and lets go of the pages of the executable: the kernel keeps those in its
 * cache, and gives back each that is used again. It takes some 15 ms. (Collecting V8's garbage as well takes longer, and
 * gains next to nothing.)
 */
export function giveBackMemory(calls: SystemCalls): void {
  calls.trimHeap();
  for (const { start, length } of cleanMappings(ownMappings(), execPath)) calls.forgetPages(start, length);
}

/** Empty where the system doesn't tell. */
function ownMappings(): string {
  try {
    return readFileSync("/proc/self/smaps", "latin1");
  } catch {
    return "";
  }
}

/**
 * Those parts of a file in memory that can't be written and have no page that differs from the file; only they can be read
 * again from there. Source: proc_pid_smaps(5).
 */
export function cleanMappings(smaps: string, file: string): { start: bigint; length: bigint }[] {
  const mappings = smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return mappings.flatMap((text) => {
    const [head = ""] = text.split("\n", 1);
    const [, from, to, path] = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \d+ +(.*)$/.exec(head) ?? [];
    if (path !== file || !/^Anonymous: +0 kB$/m.test(text)) return [];
    const start = BigInt(`0x${from}`);
    return [{ start, length: BigInt(`0x${to}`) - start }];
  });
}
