/** The system calls that make a place, through node:ffi. Each throws a HelperError REFUSED with the kernel's reason. */
import { getSystemErrorName } from "node:util";
import { HelperError } from "./protocol.ts";

/** open(2): a handle without any right to what it names. Node has no constant for it. */
export const pathOnly = 0o10000000;

/** Source: linux/sched.h. */
export const namespaceTypes = { mnt: 0x20000, ipc: 0x8000000, net: 0x40000000 } as const;
const cloneFs = 0x200;

/** Source: linux/mount.h. */
export const mountFlags = {
  ...{ nosuid: 2, nodev: 4, noexec: 8, bind: 4096, recursive: 16384, private: 1 << 18 },
} as const;

export interface Kernel {
  /** From now on this thread's root and working directory are its own, as it takes to change the namespace for mounts (setns(2)). */
  separate(): void;
  /** Moves this thread into another namespace. */
  enter(descriptor: number, type: number): void;
  /** Gives this thread new namespaces. */
  unshare(types: number): void;
  mount(source: string, target: string, type: string, flags: number, data?: string): void;
  /** Makes a node of a character device that everyone may use. */
  makeNode(path: string, major: number, minor: number): void;
  /** Brings up this namespace's loopback (netdevice(7)). */
  raiseLoopback(): void;
  /** Changes the owner of what is open (fchownat(2)); -1: as it is. */
  own(descriptor: number, uid: number, gid: number): void;
  /** A file without a name, in memory (memfd_create(2)). */
  makeFile(): number;
}

const characterDevice = 0o020666;
const afInet = 2;
const sockDgram = 2;
const sockCloexec = 0o2000000;
const siocsifflags = 0x8914n;
const iffUp = 1;
const mfdCloexec = 1;
const atEmptyPath = 0x1000;

export function loadKernel(): Kernel {
  const ffi = process.getBuiltinModule("node:ffi");
  const { functions } = ffi.dlopen(null, {
    setns: { arguments: ["i32", "i32"], return: "i32" },
    unshare: { arguments: ["i32"], return: "i32" },
    mount: { arguments: ["buffer", "buffer", "buffer", "u64", "buffer"], return: "i32" },
    mknod: { arguments: ["buffer", "u32", "u64"], return: "i32" },
    socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
    ioctl: { arguments: ["i32", "u64", "buffer"], return: "i32" },
    close: { arguments: ["i32"], return: "i32" },
    fchownat: { arguments: ["i32", "buffer", "u32", "u32", "i32"], return: "i32" },
    memfd_create: { arguments: ["buffer", "u32"], return: "i32" },
    __errno_location: { arguments: [], return: "pointer" },
  });
  const text = (value: string) => Buffer.from(`${value}\0`);
  const check = (result: number, what: string): number => {
    if (result >= 0) return result;
    const reason = getSystemErrorName(-ffi.getInt32(functions.__errno_location()));
    throw new HelperError("REFUSED", `the build's place can't be made: ${what}: ${reason}`);
  };
  return {
    separate: () => void check(functions.unshare(cloneFs), "unshare"),
    enter: (descriptor, type) => void check(functions.setns(descriptor, type), "setns"),
    unshare: (types) => void check(functions.unshare(types), "unshare"),
    mount(source, target, type, flags, data = "") {
      const result = functions.mount(text(source), text(target), text(type), BigInt(flags), text(data));
      check(result, `mounting ${target}`);
    },
    // makedev(3), for small numbers.
    makeNode: (path, major, minor) =>
      void check(functions.mknod(text(path), characterDevice, BigInt((major << 8) | minor)), `mknod ${path}`),
    raiseLoopback() {
      const socket = check(functions.socket(afInet, sockDgram | sockCloexec, 0), "socket");
      // struct ifreq: a name of 16 bytes, then the flags.
      const request = Buffer.alloc(40);
      request.write("lo");
      request.writeInt16LE(iffUp, 16);
      const result = functions.ioctl(socket, siocsifflags, request);
      functions.close(socket);
      check(result, "bringing up the loopback");
    },
    own(descriptor, uid, gid) {
      const result = functions.fchownat(descriptor, text(""), uid >>> 0, gid >>> 0, atEmptyPath);
      check(result, "changing an owner");
    },
    makeFile: () => check(functions.memfd_create(text("labgear"), mfdCloexec), "memfd_create"),
  };
}
