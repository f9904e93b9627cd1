/**
 * The client of the pages benchmark: many viewers of one console. Two of them check that offsets are continuous, one on the plain
 * stream and one on the compressed stream that browsers get. The others only count bytes: all viewers get the same frames, so
 * one that missed some has another count. `pages-viewers.ts URL COUNT` prints "ready", and one line of JSON at the end.
 */
import { type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { createGunzip } from "node:zlib";

const [url = "", count = "2"] = process.argv.slice(2);
const mark = Buffer.from("\nid: ");
/** Contains the id and the offset after a mark. */
const headBytes = 200;

class Viewer {
  /** Received since all viewers were connected. */
  bytes = 0;
  /** How far the console has been received, and how much of it was in gaps. */
  at = 0;
  missed = 0;
  /** Offsets that did not continue the ones before. */
  holes = 0;
  #carry = Buffer.alloc(0);

  check(data: Buffer): void {
    const bytes = Buffer.concat([this.#carry, data]);
    let from = 0;
    for (let found = bytes.indexOf(mark); found >= 0; found = bytes.indexOf(mark, from)) {
      from = found;
      if (bytes.length - found < headBytes && !bytes.includes("\n\n", found + 1)) break;
      this.#read(bytes.toString("latin1", found, found + headBytes));
      from = found + mark.length;
    }
    this.#carry = Buffer.from(bytes.subarray(Math.max(from, bytes.length - headBytes)));
  }

  #read(text: string): void {
    const match = /^\nid: (\d+)\nevent: (\w+)\ndata: \{"(?:offset|from)":(\d+)/.exec(text);
    const [, id, event, offset] = match ?? [];
    if (id === undefined) return;
    if (Number(offset) !== this.at) this.holes += 1;
    if (event === "gap") this.missed += Number(id) - Number(offset);
    this.at = Number(id);
  }
}

const viewers = Array.from({ length: Number(count) }, () => new Viewer());
const [plain, compressed, ...others] = viewers;
if (!plain || !compressed) throw new Error("at least two viewers are needed");
const ends = [
  await watch({}, (answer) => answer.on("data", (data) => plain.check(data))),
  await watch({ "accept-encoding": "gzip" }, (answer) => {
    const unpack = createGunzip().on("data", (data) => compressed.check(data));
    // The stream ends without the checksum of a gzip file.
    unpack.on("error", () => {});
    answer.on("data", (data) => {
      compressed.bytes += data.length;
      unpack.write(data);
    });
  }),
];
for (const viewer of others) {
  const take = (answer: IncomingMessage) => answer.on("data", (data) => (viewer.bytes += data.length));
  ends.push(await watch({ "accept-encoding": "gzip" }, take));
}
await delay(1000);
// Earlier bytes differ between viewers.
for (const viewer of viewers) viewer.bytes = 0;
console.log("ready");
await Promise.all(ends.map(({ ended }) => ended));
await delay(500);
const same = others.filter(({ bytes }) => bytes === compressed.bytes).length;
const summary = ({ at, missed, holes }: Viewer) => ({ at, missed, holes });
console.log(
  JSON.stringify({
    plain: summary(plain),
    compressed: summary(compressed),
    same,
    others: others.length,
    sent: compressed.bytes,
  }),
);

/** Resolves when the first data has arrived. */
async function watch(headers: Record<string, string>, take: (answer: IncomingMessage) => void) {
  const sent = request(`${url}?from=0`, { headers, agent: false }).end();
  const response = await new Promise<IncomingMessage>((resolve) => sent.once("response", resolve));
  const ended = new Promise<void>((resolve) => response.once("close", () => resolve()));
  const first = new Promise((resolve) => response.once("data", resolve));
  take(response);
  await first;
  return { ended };
}
