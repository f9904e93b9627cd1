/**
 * Lets a control group send to some networks alone: a program of the kernel's own machine, which looks at each packet that leaves.
 * Source: bpf(2), linux/bpf.h, and the kernel's Documentation/bpf/prog_cgroup_sockopt.rst and standardization/instruction-set.rst.
 */
import { closeSync, constants, openSync } from "node:fs";
import { arch } from "node:process";
import { parseSubnet, type Subnet } from "#/lib/subnet.ts";
import { HelperError } from "./protocol.ts";

/** Where struct __sk_buff has the packet's protocol, in network order. */
const protocolOffset = 16;
const etherTypeIpv4 = 0x0008;
const etherTypeIpv6 = 0xdd86;
/** Where the headers have the destination. */
const ipv4Destination = 16;
const ipv6Destination = 24;
const helperLoadBytes = 26;
/** The registers: 0 is the result, 1 to 5 are arguments, 6 keeps the packet, 8 is free, 10 is the stack's end. */
const [r0, r1, r2, r3, r4, r6, r8, r10] = [0, 1, 2, 3, 4, 6, 8, 10];
const stack = -16;

type Instruction = readonly [code: number, to: number, from: number, offset: number, value: number];

const load = (to: number, from: number, offset: number): Instruction => [0x61, to, from, offset, 0];
const set = (to: number, value: number): Instruction => [0xb7, to, 0, 0, value];
const copy = (to: number, from: number): Instruction => [0xbf, to, from, 0, 0];
const add = (to: number, value: number): Instruction => [0x07, to, 0, 0, value];
const call = (helper: number): Instruction => [0x85, 0, 0, 0, helper];
/** On 32 bits: a value with its highest bit set isn't extended. */
const and = (to: number, value: number): Instruction => [0x54, to, 0, 0, value | 0];
const jumpIfEqual = (to: number, value: number, by: number): Instruction => [0x16, to, 0, by, value | 0];
const jumpIfNot = (to: number, value: number, by: number): Instruction => [0x56, to, 0, by, value | 0];
const exit: Instruction = [0x95, 0, 0, 0, 0];
const refuse: readonly Instruction[] = [set(r0, 0), exit];
const accept: readonly Instruction[] = [set(r0, 1), exit];

/** The program, in the kernel's encoding. */
function subnetProgram(subnets: readonly Subnet[]): Buffer {
  const [four, six] = [familyProgram(subnets, 4), familyProgram(subnets, 16)];
  const program = [
    copy(r6, r1),
    load(r8, r6, protocolOffset),
    jumpIfNot(r8, etherTypeIpv4, four.length),
    ...four,
    jumpIfNot(r8, etherTypeIpv6, six.length),
    ...six,
    ...refuse,
  ];
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, [code, to, from, offset, value]] of program.entries()) {
    bytes.writeUInt8(code, index * 8);
    bytes.writeUInt8(to | (from << 4), index * 8 + 1);
    bytes.writeInt16LE(offset, index * 8 + 2);
    bytes.writeInt32LE(value, index * 8 + 4);
  }
  return bytes;
}

/** @param size of an address */
function familyProgram(subnets: readonly Subnet[], size: number): readonly Instruction[] {
  const own = subnets.filter(({ address }) => address.length === size);
  // The kernel takes no program with instructions that are never reached.
  if (own.some(({ prefix }) => prefix === 0)) return accept;
  return [...loadDestination(size), ...own.flatMap(allow), ...refuse];
}

/** Puts the destination on the stack; a packet that is too short for one is refused. */
function loadDestination(size: number): Instruction[] {
  const from = size === 4 ? ipv4Destination : ipv6Destination;
  return [
    copy(r1, r6),
    set(r2, from),
    copy(r3, r10),
    add(r3, stack),
    set(r4, size),
    call(helperLoadBytes),
    jumpIfEqual(r0, 0, refuse.length),
    ...refuse,
  ];
}

/** Allows a packet whose destination is in the subnet, compared by words, as they are in memory. */
function allow({ address, prefix }: Subnet): Instruction[] {
  const mask = address.map((_, index) => (0xff00 >> Math.min(8, Math.max(0, prefix - index * 8))) & 0xff);
  const words = Array.from({ length: address.length / 4 }, (_, index) => index * 4);
  const program = [...accept];
  for (const at of words.reverse()) {
    const wordMask = Buffer.from(mask.slice(at, at + 4)).readInt32LE();
    if (wordMask === 0) continue;
    const word = Buffer.from(address.slice(at, at + 4)).readInt32LE() & wordMask;
    program.unshift(load(r8, r10, stack + at), and(r8, wordMask), jumpIfNot(r8, word, program.length));
  }
  return program;
}

const systemCall: Readonly<Record<string, bigint>> = { x64: 321n, arm64: 280n };
const progLoad = 5n;
const progAttach = 8n;
const cgroupSkb = 8;
const egress = 1;
const allowMulti = 2;

/**
 * From now on, nothing in the group reaches anything else. It stays until the group is removed.
 * @throws HelperError REFUSED when the kernel has no such filters
 */
export function onlyReach(group: string, networks: readonly string[]): void {
  const ffi = process.getBuiltinModule("node:ffi");
  const { functions } = ffi.dlopen(null, {
    syscall: { arguments: ["i64", "i64", "buffer", "i64"], return: "i64" },
  });
  const bpf = (command: bigint, attributes: Buffer) =>
    Number(functions.syscall(systemCall[arch] ?? 0n, command, attributes, BigInt(attributes.length)));
  const program = subnetProgram(networks.map(parseSubnet).filter((subnet) => subnet !== undefined));
  const license = Buffer.from("Apache-2.0\0");
  const loading = Buffer.alloc(72);
  loading.writeUInt32LE(cgroupSkb, 0);
  loading.writeUInt32LE(program.length / 8, 4);
  loading.writeBigUInt64LE(BigInt(ffi.getRawPointer(program)), 8);
  loading.writeBigUInt64LE(BigInt(ffi.getRawPointer(license)), 16);
  loading.writeUInt32LE(egress, 68);
  const loaded = bpf(progLoad, loading);
  if (loaded < 0) throw refusal("take");
  const folder = openSync(group, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const attaching = Buffer.alloc(20);
    attaching.writeUInt32LE(folder, 0);
    attaching.writeUInt32LE(loaded, 4);
    attaching.writeUInt32LE(egress, 8);
    attaching.writeUInt32LE(allowMulti, 12);
    if (bpf(progAttach, attaching) < 0) throw refusal("attach");
  } finally {
    closeSync(folder);
    closeSync(loaded);
  }
}

function refusal(verb: string): HelperError {
  const message = `network: lab can't be enforced: the kernel doesn't ${verb} a filter for the build's control group (bpf(2))`;
  return new HelperError("REFUSED", message);
}
