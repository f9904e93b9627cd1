/** The ioctl(2) calls to a tty that serialport lacks. Without node:ffi they are left out. */
import type { SystemCalls } from "#/host/syscalls.ts";
import type { LineErrors, LineFormat, ModemState } from "./line.ts";

/** <asm-generic/ioctls.h>, the same on x86-64 and arm64. */
const tcgets2 = 0x802c542a;
const tcsets2 = 0x402c542b;
const tiocexcl = 0x540c;
const tiocnxcl = 0x540d;
const tiocoutq = 0x5411;
const tiocmget = 0x5415;
const tiocgicount = 0x545d;

/** struct termios2: four words of flags, of which c_cflag is the third; 44 bytes. */
const termios2Size = 44;
const cflagOffset = 8;
const hupcl = 0x400;
/** <asm-generic/termbits-common.h>: of c_cflag. */
const csize = 0x30;
const cstopb = 0x40;
const parenb = 0x100;
const parodd = 0x200;
const cmspar = 0x40000000;
const formatBits = csize | cstopb | parenb | parodd | cmspar;
const parityBits = {
  none: 0,
  odd: parenb | parodd,
  even: parenb,
  mark: parenb | cmspar | parodd,
  space: parenb | cmspar,
} as const;

/** <asm-generic/termios.h>, of TIOCMGET. */
const ctsBit = 0x20;
const cdBit = 0x40;
const riBit = 0x80;
const dsrBit = 0x100;

/** struct serial_icounter_struct: eleven counts and nine words to spare. */
const icountSize = 80;
const frameOffset = 24;
const overrunOffset = 28;
const parityOffset = 32;
const breakOffset = 36;
const bufferOverrunOffset = 40;

/** Unix98 pseudo-terminals' device numbers (Linux, devices.txt): their slaves have majors 136 to 143. */
export function isPseudoTerminal(major: number): boolean {
  return major >= 136 && major <= 143;
}

/** Linux's encoding of a device number (makedev(3)). */
export function deviceNumber(rdev: number): { major: number; minor: number } {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn);
  return { major: Number(major), minor: Number(minor & 0xffffffffn) };
}

export class TtyIoctl {
  readonly #calls: SystemCalls | undefined;

  constructor(calls: SystemCalls | undefined) {
    this.#calls = calls;
  }

  /**
   * Makes the kernel refuse further opens by anyone but root (ioctl_tty(2), TIOCEXCL), or allow them again. The last close
   * ends it, except on a pseudo-terminal, where the other end keeps it.
   */
  setExclusive(descriptor: number, exclusive: boolean): void {
    this.#calls?.ioctl(descriptor, exclusive ? tiocexcl : tiocnxcl, Buffer.alloc(8));
  }

  /** Keeps DTR and RTS as they are at the last close: drivers drop them unless HUPCL is cleared, and serialport can only set it. */
  keepLinesOnClose(descriptor: number): void {
    const termios = Buffer.alloc(termios2Size);
    if (this.#calls?.ioctl(descriptor, tcgets2, termios) !== 0) return;
    termios.writeUInt32LE((termios.readUInt32LE(cflagOffset) & ~hupcl) >>> 0, cflagOffset);
    this.#calls.ioctl(descriptor, tcsets2, termios);
  }

  /** False: it can't, as a pseudo-terminal, which knows only 8 bits without parity. */
  setFormat(descriptor: number, { bits, parity, stop }: LineFormat): boolean {
    const termios = Buffer.alloc(termios2Size);
    if (this.#calls?.ioctl(descriptor, tcgets2, termios) !== 0) return false;
    const wanted = ((bits - 5) << 4) | (stop === 2 ? cstopb : 0) | parityBits[parity];
    const flags = (termios.readUInt32LE(cflagOffset) & ~formatBits) | wanted;
    termios.writeUInt32LE(flags >>> 0, cflagOffset);
    if (this.#calls.ioctl(descriptor, tcsets2, termios) !== 0) return false;
    // The driver takes what it can, and says nothing of the rest.
    if (this.#calls.ioctl(descriptor, tcgets2, termios) !== 0) return false;
    return (termios.readUInt32LE(cflagOffset) & formatBits) === wanted;
  }

  /** How many bytes the driver still has to send; undefined if it doesn't say. */
  unsent(descriptor: number): number | undefined {
    const answer = Buffer.alloc(8);
    return this.#calls?.ioctl(descriptor, tiocoutq, answer) === 0 ? answer.readInt32LE() : undefined;
  }

  /** Counted by the driver since it was loaded; undefined if it doesn't count. */
  errors(descriptor: number): LineErrors | undefined {
    const counts = Buffer.alloc(icountSize);
    if (this.#calls?.ioctl(descriptor, tiocgicount, counts) !== 0) return undefined;
    const at = (offset: number) => counts.readInt32LE(offset);
    return {
      framing: at(frameOffset),
      parity: at(parityOffset),
      overrun: at(overrunOffset) + at(bufferOverrunOffset),
      breaks: at(breakOffset),
    };
  }

  /** Undefined if it has none, as a pseudo-terminal. */
  modem(descriptor: number): ModemState | undefined {
    const answer = Buffer.alloc(8);
    if (this.#calls?.ioctl(descriptor, tiocmget, answer) !== 0) return undefined;
    const bits = answer.readInt32LE();
    const isOn = (bit: number) => (bits & bit) !== 0;
    return { cts: isOn(ctsBit), dsr: isOn(dsrBit), ri: isOn(riBit), cd: isOn(cdBit) };
  }
}
