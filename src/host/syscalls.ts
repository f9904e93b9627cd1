/** The few system calls that Node has no function for, through node:ffi, and what they do for the program's memory. */
import { readFileSync } from "node:fs";
import { execPath } from "node:process";

export interface SystemCalls {
  /** Makes orphans below this process its children (prctl(2), PR_SET_CHILD_SUBREAPER). False: refused. */
  becomeSubreaper(): boolean;
  /** Takes a dead child off the process table (waitpid(2), WNOHANG). False: not a child, or not dead. */
  reap(pid: number): boolean;
  /** Sends one datagram to a UNIX socket, path or abstract ("@name"); it never blocks. False: not delivered. */
  sendDatagram(address: string, text: string): boolean;
  /** Sends one request to a netlink family of the kernel (netlink(7)). The answer, or undefined if there is none at once. */
  askNetlink(family: number, request: Buffer): Buffer | undefined;
  /** Controls a device (ioctl(2)); the driver's answer goes into the argument. -1: refused. */
  ioctl(descriptor: number, request: number, argument: Buffer): number;
  /** A pipe whose ends no other program inherits (pipe2(2)). Undefined: refused. */
  pipe(): { readonly reader: number; readonly writer: number } | undefined;
  /** Returns freed memory to the system (malloc_trim(3)). */
  trimHeap(): void;
  /**
   * Drops pages of this process's memory (madvise(2), MADV_DONTNEED). Only for unchanged read-only pages of a file, which are
   * read again on use; others would be lost.
   */
  forgetPages(start: bigint, length: bigint): void;
}

const prSetChildSubreaper = 36;
const wNoHang = 1;
const afUnix = 1;
const afNetlink = 16;
const sockDgram = 2;
const sockRaw = 3;
const sockCloexec = 0o2000000;
const pipeCloexec = 0o2000000;
const msgDontWait = 0x40;
const msgNoSignal = 0x4000;
const madvDontNeed = 4;

/** The C library's calls; undefined without node:ffi, which is experimental: every caller has a fallback. */
export function loadSystemCalls(): SystemCalls | undefined {
  try {
    const { functions } = process.getBuiltinModule("node:ffi").dlopen(null, {
      prctl: { arguments: ["i32", "u64", "u64", "u64", "u64"], return: "i32" },
      waitpid: { arguments: ["i32", "buffer", "i32"], return: "i32" },
      socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
      sendto: { arguments: ["i32", "buffer", "u64", "i32", "buffer", "u32"], return: "i64" },
      recv: { arguments: ["i32", "buffer", "u64", "i32"], return: "i64" },
      close: { arguments: ["i32"], return: "i32" },
      ioctl: { arguments: ["i32", "u64", "buffer"], return: "i32" },
      pipe2: { arguments: ["buffer", "i32"], return: "i32" },
      malloc_trim: { arguments: ["u64"], return: "i32" },
      madvise: { arguments: ["u64", "u64", "i32"], return: "i32" },
    });
    return {
      becomeSubreaper: () => functions.prctl(prSetChildSubreaper, 1n, 0n, 0n, 0n) === 0,
      reap: (pid) => pid > 0 && functions.waitpid(pid, Buffer.alloc(4), wNoHang) === pid,
      sendDatagram(address, text) {
        const name = unixAddress(address);
        if (!name) return false;
        const socket = functions.socket(afUnix, sockDgram | sockCloexec, 0);
        if (socket < 0) return false;
        const bytes = Buffer.from(text);
        const flags = msgDontWait | msgNoSignal;
        const sent = functions.sendto(socket, bytes, BigInt(bytes.length), flags, name, name.length);
        functions.close(socket);
        return sent === BigInt(bytes.length);
      },
      askNetlink(family, request) {
        const socket = functions.socket(afNetlink, sockRaw | sockCloexec, family);
        if (socket < 0) return undefined;
        // struct sockaddr_nl: the kernel is port 0.
        const kernel = Buffer.alloc(12);
        kernel.writeUInt16LE(afNetlink);
        const answer = Buffer.alloc(8192);
        functions.sendto(socket, request, BigInt(request.length), msgDontWait, kernel, kernel.length);
        const length = functions.recv(socket, answer, BigInt(answer.length), msgDontWait);
        functions.close(socket);
        return length > 0n ? answer.subarray(0, Number(length)) : undefined;
      },
      ioctl: (descriptor, request, argument) => functions.ioctl(descriptor, BigInt(request), argument),
      pipe() {
        const ends = new Int32Array(2);
        const [reader, writer] = functions.pipe2(Buffer.from(ends.buffer), pipeCloexec) === 0 ? ends : [];
        return reader === undefined || writer === undefined ? undefined : { reader, writer };
      },
      trimHeap: () => void functions.malloc_trim(0n),
      forgetPages: (start, length) => void functions.madvise(start, length, madvDontNeed),
    };
  } catch {
    return undefined;
  }
}

/** struct sockaddr_un (unix(7)): the family, then the path with its NUL, or a NUL and the abstract name. */
function unixAddress(address: string): Buffer | undefined {
  const path = Buffer.from(address.startsWith("@") ? `\0${address.slice(1)}` : `${address}\0`);
  if (path.length < 2 || path.length > 108) return undefined;
  const bytes = Buffer.alloc(2 + path.length);
  new Uint16Array(bytes.buffer, bytes.byteOffset, 1)[0] = afUnix;
  bytes.set(path, 2);
  return bytes;
}

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
