/**
 * Loads serialport's native addon in the packaged program; it replaces node-gyp-build, which looks for the addon in a
 * node_modules folder.
 */
import { closeSync, mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostError } from "./errors.ts";
import { carriedFile, isExecutable } from "./executable.ts";

/** Where the Debian package installs it. */
const installed = "/usr/lib/labgear/serialport.node";

const mfdCloexec = 1;

/** Its name among the executable's assets. */
const carried = "serialport.node";

/**
 * The addon's exports: loaded from the package's file, else from memory, else from a folder that is removed at once. The loader
 * needs a file, but not for long: a noexec /tmp or a missing HOME does no harm.
 * @returns if nothing works, functions that throw a HostError ADDON: a box without boards doesn't need the addon
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

/** Where the addon comes from: "from …". @throws HostError ADDON, or Node's error outside of the executable */
export async function addonOrigin(): Promise<string> {
  if (isExecutable()) return load().origin;
  await import("serialport");
  return "from node_modules";
}

/** @throws HostError ADDON with the reason of each attempt */
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

function refusal(refused: readonly string[]): HostError {
  const advice = "serial ports can't be used; install libstdc++6, and mount some folder without noexec";
  const reasons = [...new Set(refused)].join("; ");
  return new HostError("ADDON", `the addon for serial ports can't be loaded (${reasons}): ${advice}`);
}

/** Only if it is identical: another version may be installed, or about to be. */
function fromPackage(bytes: Buffer): unknown {
  if (!readFileSync(installed).equals(bytes)) throw new Error(`${installed} is another version's`);
  return open(installed);
}

/** From an anonymous file. Source: memfd_create(2). */
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
