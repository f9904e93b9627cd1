/**
 * Waiting for a pattern that never comes, over 25 MB of a board's output, against what expect libraries do: add each piece to a buffer and
 * search all of it again. The peer's cost grows with the square, so it is measured over less and its 25 MB are computed from there.
 */
import { OutputMatcher } from "#/devices/consoles/matcher.ts";

const line = "[00:00:12.345,678] <inf> sample: value 1234 \x1b[0;32mhello\x1b[0m world of the board\r\n";
const total = 25e6;
/** What a read of a port brings at most. */
const piece = 4096;
const output = Buffer.from(line.repeat(Math.ceil(total / line.length)).slice(0, total));

const patterns: readonly (readonly [string, RegExp])[] = [
  ["never (matches|matched) this [0-9]+ thing", /never (matches|matched) this [0-9]+ thing/],
  ["(?i)ERROR.*failed$", /ERROR.*failed$/im],
  ["login:\\s+root[^#]*#", /login:\s+root[^#]*#/],
];

/** Seconds. */
function ours(pattern: string, bytes: number, size: number): number {
  const started = performance.now();
  const matcher = new OutputMatcher();
  matcher.expect([pattern]);
  for (let at = 0; at < bytes; at += size)
    if (matcher.feed(output.subarray(at, at + size))) throw new Error("it matched");
  return (performance.now() - started) / 1000;
}

/** Seconds. */
function naive(pattern: RegExp, bytes: number): number {
  const started = performance.now();
  let buffer = "";
  for (let at = 0; at < bytes; at += piece) {
    buffer += output.toString("latin1", at, at + piece);
    if (pattern.test(buffer)) throw new Error("it matched");
  }
  return (performance.now() - started) / 1000;
}

const sample = 1e6;
for (const [pattern, same] of patterns) {
  const seconds = ours(pattern, total, piece);
  const small = ours(pattern, 1e6, 16);
  const peer = naive(same, sample) * (total / sample) ** 2;
  const ratio = (peer / seconds).toFixed(0);
  console.log(
    `${pattern}: 25 MB in ${seconds.toFixed(2)} s, rescanning ${peer.toFixed(0)} s, ratio ${ratio}; in pieces of 16 bytes ${(1 / small).toFixed(1)} MB/s`,
  );
}
