/**
 * A board's output as WORK_DATA of its lease: a byte after a pause at once, and at most 50 packets a second. It reads the port's
 * ring, so it never slows the port; a client that falls behind misses the oldest bytes, and sees by the offsets how many.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Port } from "#/devices/port/port.ts";
import { Condition } from "#/lib/condition.ts";

const packetIntervalMs = 20;
const maxPacketBytes = 48 * 1024;

/** The clients that the stream goes to. */
interface SerialTarget {
  readonly isAttached: boolean;
  /** Resolves when a client is attached. */
  attached(): Promise<void>;
  /** Resolves when more can be sent without piling up. */
  send(data: object): Promise<void>;
}

/** Streams until the signal aborts, and then rejects with its reason. @param from an offset in the port's stream */
export async function streamSerial(
  { ring, ...port }: Pick<Port, "ring"> & { readonly onData: (wake: () => void) => Disposable },
  target: SerialTarget,
  from: number,
  signal: AbortSignal,
): Promise<never> {
  const changed = new Condition();
  using _ = port.onData(() => changed.wake());
  const aborted = changed.until(() => false, signal);
  aborted.catch(() => {});
  let at = from;
  let sent = Number.NEGATIVE_INFINITY;
  for (;;) {
    await changed.until(() => ring.end > at, signal);
    const waitMs = sent + packetIntervalMs - performance.now();
    if (waitMs > 0) await delay(waitMs, undefined, { signal });
    if (!target.isAttached) await Promise.race([target.attached(), aborted]);
    const { offset, bytes } = ring.piece(at, maxPacketBytes);
    await target.send({ serial: bytes.toString("base64"), offset });
    at = offset + bytes.length;
    sent = performance.now();
  }
}
