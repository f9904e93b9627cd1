/** Computes the checksums that a board's own tools print. */
import { createHash } from "node:crypto";

/** Programs that print a checksum of their standard input as the first word. The cheapest comes first. */
export const checksumPrograms = ["cksum", "md5sum", "sha1sum", "sha256sum", "sha512sum"] as const;
export type ChecksumProgram = (typeof checksumPrograms)[number];

/** @returns the first word that the program prints for these bytes */
export function checksum(program: ChecksumProgram, ...pieces: readonly Uint8Array[]): string {
  const sum = newChecksum(program);
  for (const piece of pieces) sum.update(piece);
  return sum.digest();
}

export interface Checksum {
  update(bytes: Uint8Array): void;
  digest(): string;
}

export function newChecksum(program: ChecksumProgram): Checksum {
  if (program === "cksum") return newCksum();
  const hash = createHash(program.slice(0, -"sum".length));
  return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest("hex") };
}

/** POSIX cksum: the CRC of ISO 8802-3, most significant bit first, over the bytes and then their count. */
function newCksum(): Checksum {
  let crc = 0;
  let length = 0;
  const add = (byte: number) => {
    crc = (crc << 8) ^ (table[((crc >>> 24) ^ byte) & 0xff] ?? 0);
  };
  return {
    update(bytes) {
      for (const byte of bytes) add(byte);
      length += bytes.length;
    },
    digest() {
      for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) add(rest & 0xff);
      return String(~crc >>> 0);
    },
  };
}

const table = Int32Array.from({ length: 256 }, (_, index) => {
  let value = index << 24;
  for (let bit = 0; bit < 8; bit++) value = value < 0 ? (value << 1) ^ 0x04c11db7 : value << 1;
  return value;
});
