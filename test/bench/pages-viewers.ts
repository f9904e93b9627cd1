/**
 * The far end of the pages' bench: many viewers of one console. Two of them check that its offsets go on without a hole: one that takes
 * it plain, and one that takes it packed as browsers do. The others count what comes: nobody who missed something gets as much as
 * the second, since all get the same frames, and who misses some is told. Told an address and a number of viewers, it says "ready", and at the end one JSON line.
 */
import { type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { createGunzip } from "node:zlib";

const [url = "", count = "2"] = process.argv.slice(2);
const mark = Buffer.from("\nid: ");
/** Enough for the id and the offset behind a mark. */
const enough = 200;

class Viewer {
  /** Of all that came once everybody was there. */
  bytes = 0;
  /** Up to where the console came, and how much of it was told to be missed. */
  at = 0;
  missed = 0;
  /** Offsets that didn't go on where the one before ended. */
  holes = 0;
  #carry = Buffer.alloc(0);

  check(data: Buffer): void {
    const bytes = Buffer.concat([this.#carry, data]);
    let from = 0;
    for (let found = bytes.indexOf(mark); found >= 0; found = bytes.indexOf(mark, from)) {
      from = found;
      if (bytes.length - found < enough && !bytes.includes("\n\n", found + 1)) break;
      this.#read(bytes.toString("latin1", found, found + enough));
      from = found + mark.length;
    }
    this.#carry = Buffer.from(bytes.subarray(Math.max(from, bytes.length - enough)));
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
const [plain, packed, ...others] = viewers;
if (!plain || !packed) throw new Error("two viewers at least");
const ends = [
  await watch({}, (answer) => answer.on("data", (data) => plain.check(data))),
  await watch({ "accept-encoding": "gzip" }, (answer) => {
    const unpack = createGunzip().on("data", (data) => packed.check(data));
    // It ends without the sum that a file would have.
    unpack.on("error", () => {});
    answer.on("data", (data) => {
      packed.bytes += data.length;
      unpack.write(data);
    });
  }),
];
for (const viewer of others) {
  const take = (answer: IncomingMessage) => answer.on("data", (data) => (viewer.bytes += data.length));
  ends.push(await watch({ "accept-encoding": "gzip" }, take));
}
await delay(1000);
// What came before they were all there isn't the same for all.
for (const viewer of viewers) viewer.bytes = 0;
console.log("ready");
await Promise.all(ends.map(({ ended }) => ended));
await delay(500);
const same = others.filter(({ bytes }) => bytes === packed.bytes).length;
const told = ({ at, missed, holes }: Viewer) => ({ at, missed, holes });
console.log(
  JSON.stringify({
    plain: told(plain),
    packed: told(packed),
    same,
    others: others.length,
    sent: packed.bytes,
  }),
);

/** Resolves once something came. */
async function watch(headers: Record<string, string>, take: (answer: IncomingMessage) => void) {
  const asked = request(`${url}?from=0`, { headers, agent: false }).end();
  const answer = await new Promise<IncomingMessage>((resolve) => asked.once("response", resolve));
  const ended = new Promise<void>((resolve) => answer.once("close", () => resolve()));
  const first = new Promise((resolve) => answer.once("data", resolve));
  take(answer);
  await first;
  return { ended };
}
