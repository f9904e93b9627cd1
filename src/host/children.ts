/**
 * Starts children in a fraction of a millisecond. Node forks, which copies the page tables of the whole agent and stops it meanwhile;
 * posix_spawn(3) shares them until the child has become its program. Node doesn't know these children, so they are waited for here.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Child {
  readonly pid: number;
  readonly ended: Promise<Ended>;
}

export interface Program {
  /** Its path. */
  readonly file: string;
  readonly args: readonly string[];
  /** This process's descriptors that become 1, 2, 3 and so on; 0 is /dev/null. */
  readonly descriptors: readonly number[];
}

/** <spawn.h> of the C library. */
const setSigDefault = 0x04;
const setSigMask = 0x08;
const setSid = 0x80;
const wNoHang = 1;
/** More than the C library's structures have. */
const structureBytes = 512;
/** Should a signal be lost. */
const lookIntervalMs = 10_000;

const running = new Map<number, (ended: Ended) => void>();
let timer: NodeJS.Timeout | undefined;
let calls: ReturnType<typeof load> | undefined;

function load() {
  const ffi = process.getBuiltinModule("node:ffi");
  const { functions } = ffi.dlopen(null, {
    posix_spawn: { arguments: ["buffer", "string", "buffer", "buffer", "buffer", "buffer"], return: "i32" },
    posix_spawn_file_actions_init: { arguments: ["buffer"], return: "i32" },
    posix_spawn_file_actions_addopen: {
      arguments: ["buffer", "i32", "string", "i32", "u32"],
      return: "i32",
    },
    posix_spawn_file_actions_adddup2: { arguments: ["buffer", "i32", "i32"], return: "i32" },
    posix_spawn_file_actions_destroy: { arguments: ["buffer"], return: "i32" },
    posix_spawnattr_init: { arguments: ["buffer"], return: "i32" },
    posix_spawnattr_setflags: { arguments: ["buffer", "i16"], return: "i32" },
    posix_spawnattr_setsigdefault: { arguments: ["buffer", "buffer"], return: "i32" },
    waitpid: { arguments: ["i32", "buffer", "i32"], return: "i32" },
  });
  process.on("SIGCHLD", look);
  /** An array of strings of C; `texts` has to live as long. */
  const vector = (items: readonly string[]) => {
    const texts = items.map((item) => Buffer.from(`${item}\0`));
    const pointers = BigUint64Array.from([...texts.map((text) => BigInt(ffi.getRawPointer(text))), 0n]);
    return { texts, bytes: Buffer.from(pointers.buffer) };
  };
  return { functions, vector };
}

/**
 * Starts a program in a session of its own, with an empty environment and this process's working directory. The descriptors may be
 * closed afterwards.
 * @throws the system's error
 */
export function startChild(program: Program): Child {
  try {
    calls ??= load();
  } catch {
    // node:ffi is experimental.
    return forkChild(program);
  }
  const { functions, vector } = calls;
  const actions = Buffer.alloc(structureBytes);
  const attributes = Buffer.alloc(structureBytes);
  const pid = Buffer.alloc(4);
  functions.posix_spawn_file_actions_init(actions);
  functions.posix_spawn_file_actions_addopen(actions, 0, "/dev/null", 0, 0);
  for (const [index, descriptor] of program.descriptors.entries())
    functions.posix_spawn_file_actions_adddup2(actions, descriptor, index + 1);
  functions.posix_spawnattr_init(attributes);
  // Node ignores SIGPIPE, and its mask is that of the thread.
  functions.posix_spawnattr_setsigdefault(attributes, Buffer.alloc(structureBytes, 0xff));
  functions.posix_spawnattr_setflags(attributes, setSigDefault | setSigMask | setSid);
  const argv = vector([program.file, ...program.args]);
  const failure = functions.posix_spawn(pid, program.file, actions, attributes, argv.bytes, vector([]).bytes);
  functions.posix_spawn_file_actions_destroy(actions);
  // Of a short system, Node's own way gives the error.
  if (failure !== 0) return forkChild(program);
  return { pid: pid.readInt32LE(), ended: endOf(pid.readInt32LE()) };
}

function endOf(pid: number): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>();
  running.set(pid, resolve);
  timer ??= setInterval(look, lookIntervalMs).unref();
  return promise;
}

/** Whether it is one of startChild(). */
export function isChild(pid: number): boolean {
  return running.has(pid);
}

function look(): void {
  const status = Buffer.alloc(4);
  for (const [pid, resolve] of running) {
    const found = calls?.functions.waitpid(pid, status, wNoHang);
    if (found === 0) continue;
    running.delete(pid);
    // -1: somebody else has waited for it.
    resolve(found === pid ? endedBy(status.readInt32LE()) : { code: null, signal: null });
  }
  if (running.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}

/** The macros of waitpid(2). */
function endedBy(status: number): Ended {
  const number = status & 0x7f;
  if (number === 0) return { code: (status >> 8) & 0xff, signal: null };
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return { code: null, signal: (name ?? "SIGKILL") as NodeJS.Signals };
}

function forkChild({ file, args, descriptors }: Program): Child {
  const child = spawn(file, args, { env: {}, detached: true, stdio: ["ignore", ...descriptors] });
  const { promise: ended, resolve } = Promise.withResolvers<Ended>();
  child.once("exit", (code, signal) => resolve({ code, signal })).unref();
  // Emitted later; a child without a pid is what says it.
  child.once("error", () => {});
  if (child.pid === undefined) throw new Error("the system starts no more processes");
  return { pid: child.pid, ended };
}
