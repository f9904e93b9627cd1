/** Returns the memory to the system that only the program's start needed, which is most of it. */
import { readFileSync } from "node:fs";
import { execPath } from "node:process";
import type { SystemCalls } from "./syscalls.ts";

/**
 * Returns the memory that the C library keeps after it was freed, and drops the executable's pages: the kernel has them in its
 * cache, and maps those again that are used. It takes some 15 ms. (Collecting V8's garbage takes longer and gains next to
 * nothing.)
 */
export function releaseMemory(calls: SystemCalls): void {
  calls.trimHeap();
  for (const { start, length } of cleanMappings(ownMappings(), execPath)) calls.forgetPages(start, length);
}

/** Empty without /proc. */
function ownMappings(): string {
  try {
    return readFileSync("/proc/self/smaps", "latin1");
  } catch {
    return "";
  }
}

/**
 * A file's mappings that are read-only and have no page that differs from the file: only those can be dropped and read again.
 * Source: proc_pid_smaps(5).
 * @internal
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
