/** A file from a Linux board: frames as for output, and the digest of the whole at the end. */
import { TransferError } from "../../errors.ts";
import type { Sink } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { Pull } from "../transfer.ts";
import { checksum, newChecksum } from "./checksum.ts";
import { digestOf, rangeBytes, rangeSums } from "./digest.ts";
import { unit } from "./framing.ts";
import { quoted, type Session } from "./session.ts";

/** @throws TransferError, BoardFailure */
export function* getFile(session: Session, from: string, sink: Sink): Dialogue<void> {
  const { code, output } = yield* session.execute(`F=${quoted(from)}
case $F in /*);;*)F=$PWD/$F;;esac
[ -f "$F" ]||{ echo there is no such file;exit 1;}
rm -f "$T/g";ln -s "$F" "$T/g"&&x=$(wc -c <"$F")&&echo "size:"$x`);
  const size = Number(/size:(\d+)/.exec(output)?.[1]);
  if (code !== 0 || Number.isNaN(size)) {
    throw new TransferError(`${from} can't be read on the board: ${output.trim()}`);
  }
  yield* keepBeginning(session, sink, size);
  const begin = sink.size;
  yield { kind: "progress", done: begin, total: size };
  const pull = new Pull(function* (bytes) {
    sink.append(bytes);
    yield { kind: "progress", done: Math.min(size, sink.size), total: size };
  }, begin / unit);
  const changed = () => new TransferError(`${from} changed on the board while it was read`);
  while (begin + pull.received < size) {
    const [, place, now] = yield* session.ask("g", pull.request(), (frame) => pull.take(frame), {
      again: () => pull.retry(),
    });
    if (Number(now) !== size) throw changed();
    pull.settleAt(Number(place), size);
  }
  const digest = yield* digestOf(session, "g", size);
  const sum = newChecksum(digest.program);
  for (let at = 0; at < sink.size; at += 65_536) sum.update(sink.read(at, 65_536));
  if (sink.size !== size || sum.digest() !== digest.digest) throw changed();
}

/** Keeps what the sink has as far as it is the file's beginning. */
function* keepBeginning(session: Session, sink: Sink, size: number): Dialogue<void> {
  const range = rangeBytes(size);
  const ranges = Math.floor(Math.min(sink.size, size) / range);
  if (ranges === 0) return sink.truncate(0);
  const sums = yield* rangeSums(session, "g", ranges * range, range);
  let good = 0;
  while (good < ranges && sums[good] === checksum(session.link.sum, sink.read(good * range, range))) good++;
  sink.truncate(good * range);
}
