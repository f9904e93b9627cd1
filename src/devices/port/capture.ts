/** Captures what goes over a port into a file. */
import { type FileHandle, open } from "node:fs/promises";
import { type CaptureRecord, encodeHead, encodeRecord } from "#/lib/capture.ts";
import type { Port } from "./port.ts";
import type { Chunk } from "./ring.ts";

const defaultMaxBytes = 64 * 1024 * 1024;
/** Bytes that wait for the disk. Further ones are left out, and a note says how many. */
const maxWaitingBytes = 4 * 1024 * 1024;

export interface CaptureOptions {
  /** Of the file; a last note says that it is full. */
  readonly maxBytes?: number;
}

/** Disposing writes what waits and closes the file. */
export interface Capture extends AsyncDisposable {
  /** A remark among the bytes, with its time. */
  note(text: string): void;
}

/**
 * Captures both directions of a port into a new file until it is disposed of. Each record is appended whole, so a crash costs
 * the last ones at most. The port never waits for the disk: what a slow or full disk doesn't take is left out.
 *
 * @param from starts with the bytes that came since this offset, as far as the ring has them
 */
export async function openCapture(
  path: string,
  port: Port,
  from = port.ring.end,
  { maxBytes = defaultMaxBytes }: CaptureOptions = {},
): Promise<Capture> {
  const began = port.ring.read(from)?.at ?? Date.now();
  const file = await open(path, "wx", 0o640);
  const recorder = new Recorder(file, began, maxBytes);
  for (let chunk = port.ring.read(from); chunk; chunk = port.ring.read(chunk.offset + chunk.bytes.length))
    recorder.take("received", chunk);
  const received = (chunk: Chunk) => recorder.take("received", chunk);
  const sent = (chunk: Chunk) => recorder.take("sent", chunk);
  const state = () => recorder.note(`the port is ${port.state.kind}`);
  port.on("data", received).on("sent", sent).on("state", state);
  return {
    note: (text) => recorder.note(text),
    async [Symbol.asyncDispose]() {
      port.off("data", received).off("sent", sent).off("state", state);
      await recorder.close();
    },
  };
}

class Recorder {
  readonly #file: FileHandle;
  readonly #began: number;
  readonly #maxBytes: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #bytes = 0;
  /** Bytes left out since the last record. */
  #missed = 0;
  #state: "open" | "full" | "failed" | "closed" = "open";
  #writing: Promise<void> | undefined;

  constructor(file: FileHandle, began: number, maxBytes: number) {
    this.#file = file;
    this.#began = began;
    this.#maxBytes = maxBytes;
    this.#push([encodeHead(began)]);
  }

  take(kind: CaptureRecord["kind"], { at, bytes }: Omit<Chunk, "offset">): void {
    if (this.#state !== "open") return;
    if (this.#waitingBytes + bytes.length > maxWaitingBytes) {
      this.#missed += bytes.length;
      return;
    }
    if (this.#bytes + bytes.length > this.#maxBytes) {
      this.#record("note", Date.now(), Buffer.from("the capture is full: what follows is missing"));
      this.#state = "full";
      return;
    }
    if (this.#missed > 0) {
      const text = `${this.#missed} bytes are missing here: the disk was too slow`;
      this.#missed = 0;
      this.#record("note", at, Buffer.from(text));
    }
    this.#record(kind, at, bytes);
  }

  note(text: string): void {
    this.take("note", { at: Date.now(), bytes: Buffer.from(text) });
  }

  async close(): Promise<void> {
    if (this.#state === "closed") return;
    if (this.#state === "open" && this.#missed > 0) this.note("end");
    this.#state = "closed";
    await this.#writing;
    await this.#file.close();
  }

  #record(kind: CaptureRecord["kind"], at: number, bytes: Uint8Array): void {
    this.#push(encodeRecord({ kind, at: at - this.#began, bytes }));
  }

  #push(parts: Buffer[]): void {
    for (const part of parts) {
      this.#waiting.push(part);
      this.#waitingBytes += part.length;
      this.#bytes += part.length;
    }
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async #write(): Promise<void> {
    // Records of the same turn go in one write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const data = Buffer.concat(this.#waiting);
      this.#waiting = [];
      try {
        await this.#file.appendFile(data);
      } catch {
        // A full disk: the capture is an aid, and the build goes on without the rest of it.
        this.#state = "failed";
        this.#waiting = [];
      }
      this.#waitingBytes -= data.length;
    }
  }
}
