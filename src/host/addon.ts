/**
 * Loads serialport's native addon in the packaged program, in the place of node-gyp-build, which looks for it in a
 * node_modules folder.
 */
import { closeSync, mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostError } from "./errors.ts";
import { carriedFile, isExecutable } from "./executable.ts";

/** Where the Debian package has it, as a file that the whole system shares. */
const installed = "/usr/lib/labgear/serialport.node";

const mfdCloexec = 1;

/** The name by which the executable carries it. */
const carried = "serialport.node";

/**
 * The addon's exports: from the package's file, else from memory, else from a private folder that is gone at once. The
 * loader wants a file, but not one that lasts: neither a noexec /tmp nor a missing HOME is in the way.
 * @returns where none of it works, functions that throw a HostError ADDON: a box without boards doesn't need them
 */
export default function loadAddon(): unknown {
  try {
    return load().addon;
  } catch (error) {
    const refuse = () => {
      throw error;
    };
    return new Proxy({}, { get: () => refuse });
  }
}

/** Where the addon comes from, for people: "from …". @throws HostError ADDON, or Node's error outside of the executable */
export async function addonOrigin(): Promise<string> {
  if (isExecutable()) return load().origin;
  await import("serialport");
  return "from node_modules";
}

/** @throws HostError ADDON, with what each way said */
function load(): { addon: unknown; origin: string } {
  const refused: string[] = [];
  for (const [origin, way] of ways) {
    try {
      return { addon: way(carriedFile(carried)), origin };
    } catch (error) {
      refused.push((error as Error).message.split("\n", 1)[0] ?? "");
    }
  }
  throw refusal(refused);
}

const ways: readonly [string, (bytes: Buffer) => unknown][] = [
  [`from ${installed}`, fromPackage],
  ["from memory", fromMemory],
  ["from a temporary folder", fromFolder],
];

/** @param refused what each way said */
function refusal(refused: readonly string[]): HostError {
  const advice =
    "serial ports can't be used; see that libstdc++6 is installed and some folder isn't mounted noexec";
  const reasons = [...new Set(refused)].join("; ");
  return new HostError("ADDON", `the addon for serial ports can't be loaded (${reasons}): ${advice}`);
}

/** Only when it is the very same: another version's may be installed, or be about to be. */
function fromPackage(bytes: Buffer): unknown {
  if (!readFileSync(installed).equals(bytes)) throw new Error(`${installed} is another version's`);
  return open(installed);
}

/** A file without a name or a place. Source: memfd_create(2). */
function fromMemory(bytes: Buffer): unknown {
  const { functions } = process.getBuiltinModule("node:ffi").dlopen(null, {
    memfd_create: { arguments: ["string", "u32"], return: "i32" },
  });
  const descriptor = functions.memfd_create(carried, mfdCloexec);
  if (descriptor < 0) throw new Error("memfd_create was refused");
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
    return open(`/proc/self/fd/${descriptor}`);
  } finally {
    closeSync(descriptor);
  }
}

function fromFolder(bytes: Buffer): unknown {
  const folder = mkdtempSync(join(process.env.RUNTIME_DIRECTORY ?? tmpdir(), "labgear-"));
  try {
    const file = join(folder, carried);
    writeFileSync(file, bytes, { mode: 0o500 });
    return open(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function open(file: string): unknown {
  const module = { exports: {} };
  process.dlopen(module, file);
  return module.exports;
}
