/** What a Linux board says of a file there: its digest as a whole, and checksums of its ranges, to go on from a partial one. */
import { TransferError } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import { type ChecksumProgram, checksumPrograms } from "./checksum.ts";
import type { Session } from "./session.ts";

/** Milliseconds that a board may take to read so many bytes, on a slow card. */
export function workTime(size: number): number {
  return 10_000 + size / 500;
}

/** How long the ranges of a file are: a multiple of 64 KiB, at most 128 of them. */
export function rangeBytes(size: number): number {
  return 65_536 * Math.max(1, Math.ceil(size / 65_536 / 128));
}

/**
 * The digest by the strongest program that the board has.
 * @param link a name in our folder on the board
 */
export function* digestOf(
  session: Session,
  link: string,
  size: number,
): Dialogue<{ program: ChecksumProgram; digest: string }> {
  const strongest = ["sha256sum", "sha512sum", "sha1sum", "md5sum", "cksum"];
  const { output } = yield* session.execute(
    `for S in ${strongest.join(" ")};do $S </dev/null >/dev/null 2>&1&&break;done
x=$($S <"$T/${link}");echo "digest:$S:\${x%% *}:"`,
    workTime(size),
  );
  const [, name, digest = ""] = /digest:(\w+):(\w+):/.exec(output) ?? [];
  const program = checksumPrograms.find((known) => known === name);
  if (!program) throw new TransferError(`the board can't read the file: ${output.trim()}`);
  return { program, digest };
}

/** The checksums of the ranges, the last of them perhaps a short one. */
export function* rangeSums(
  session: Session,
  link: string,
  size: number,
  range = rangeBytes(size),
): Dialogue<string[]> {
  const count = Math.ceil(size / range);
  const blocks = range / 65_536;
  const { output } = yield* session.execute(
    `i=0;while [ $i -lt ${count} ];do
x=$(dd if="$T/${link}" bs=65536 skip=$((i*${blocks})) count=${blocks} 2>/dev/null|$C);echo "\${x%% *}";i=$((i+1));done`,
    workTime(size),
  );
  return output.trim().split("\n");
}
