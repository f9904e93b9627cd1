/** Keeps a port's line open: finds the port, claims and opens it, and starts over whenever it goes away. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { DeviceError } from "../errors.ts";
import type { Control, Line, Receive } from "./line.ts";
import type { Place, Source } from "./source.ts";

/**
 *            found            opened            lend()
 *   absent ─────────▶ opening ───────▶ open ─────────────▶ lent
 *    ▲ ▲ ▲             │  ▲             │ ▲                 │ │
 *    │ │ └─ not there ─┤  │ a change,   │ └── given back ───┘ │
 *    │ │               ▼  │ or a while  │      and opened     │
 *    │ │             refused            │                     │
 *    │ └────────────── lost ────────────┘     given back and  │
 *    └─────────────────────────────────────── not there ──────┘
 *
 *   any state ─▶ closed (for good)
 */
export type PortState =
  | { readonly kind: "absent"; readonly reason: string }
  | { readonly kind: "opening"; readonly path: string }
  | { readonly kind: "open"; readonly path: string }
  /** Another program uses it, and ours is closed meanwhile; `returned`: it is being reopened. */
  | { readonly kind: "lent"; readonly path: string; readonly returned: boolean }
  /** It is there and can't be opened: `reason` says why and what to do. Retried after each change, and now and then. */
  | { readonly kind: "refused"; readonly reason: string; readonly error: DeviceError }
  | { readonly kind: "closed" };

export const notLookedFor = "it wasn't looked for yet";

/** How long a port may take to come back after its board was flashed: boards with native USB disappear when they are reset. */
export const returnTimeoutMs = 5000;
/** Between attempts to open when nothing changes: doubled from the first to the last. */
const firstRetryMs = 250;
const lastRetryMs = 15_000;
/** A line that stays up this long shows that the port works. */
const steadyAfterMs = 5000;
/** For another process to say who holds a port. */
const holderTimeoutMs = 500;

export interface PortConnectionOptions {
  /** Of the device. */
  readonly name: string;
  readonly source: Source;
  /** How the control lines are set after each opening. */
  readonly lines: Control;
  readonly receive: Receive;
  /** After each change of the state. */
  readonly changed: () => void;
  readonly opened: (line: Line) => void;
  /** Before the line is closed, by either side. */
  readonly closing: () => void;
  /** The line, or a lent port, is gone. */
  readonly lost: (error: DeviceError) => void;
}

export class PortConnection implements AsyncDisposable {
  readonly #options: PortConnectionOptions;
  readonly #watch: Disposable;
  readonly #ending = new AbortController();
  #state: PortState = { kind: "absent", reason: notLookedFor };
  #line: Line | undefined;
  #place: Place | undefined;
  #claim: { readonly key: string; readonly lock: Disposable } | undefined;
  /** The search under way, and whether something changed meanwhile. */
  #settling: Promise<void> | undefined;
  #changed = false;
  /** Failed attempts since a line last stayed up. */
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;

  /** Starts to look for the port at once. */
  constructor(options: PortConnectionOptions) {
    this.#options = options;
    this.#watch = options.source.watch(() => this.#wake());
    this.#wake();
  }

  get state(): PortState {
    return this.#state;
  }

  /** Set while the port is open. */
  get line(): Line | undefined {
    return this.#line;
  }

  /** Closes the line for another program, and keeps the claim. @throws DeviceError PORT_ABSENT */
  async lend(): Promise<Place> {
    const place = this.#place;
    if (this.#state.kind !== "open" || !place) throw this.notThere();
    this.#set({ kind: "lent", path: place.path, returned: false });
    await this.#drop();
    return place;
  }

  /** @param opened resolves true when the port is open, false after the timeout */
  async takeBack(opened: (timeoutMs: number) => Promise<boolean>): Promise<void> {
    if (this.#state.kind !== "lent") return;
    this.#failures = 0;
    this.#set({ ...this.#state, returned: true });
    this.#wake();
    if (await opened(returnTimeoutMs)) return;
    const error = new DeviceError(
      "PORT_LOST",
      `${this.#options.name}'s port didn't come back after it was lent`,
    );
    this.#options.lost(error);
    this.#set({ kind: "absent", reason: error.message });
    this.#wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state.kind === "closed") return;
    this.#set({ kind: "closed" });
    this.#ending.abort();
    this.#watch[Symbol.dispose]();
    clearTimeout(this.#retry);
    await this.#settling;
    await this.#drop();
    this.#unclaim();
  }

  notThere(): DeviceError {
    const why = "reason" in this.#state ? `: ${this.#state.reason}` : "";
    return new DeviceError("PORT_ABSENT", `${this.#options.name}'s port is ${this.#state.kind}${why}`);
  }

  /** Looks for the port; if a search is under way, once more afterwards. */
  readonly #wake = (): void => {
    this.#changed = true;
    this.#settling ??= this.#settle();
  };

  async #settle(): Promise<void> {
    // The caller of #wake() finishes first.
    await Promise.resolve();
    while (this.#changed && this.#state.kind !== "closed") {
      this.#changed = false;
      try {
        const place = await this.#options.source.find();
        if (this.#state.kind === "open") this.#leaveIfElsewhere(place);
        else if (place) await this.#open(place);
        else this.#fail({ kind: "absent", reason: this.#options.source.absence });
      } catch (cause) {
        this.#onFailure(cause as Error);
      }
    }
    this.#settling = undefined;
  }

  /** There is no line, and there should be one. */
  get #isLooking(): boolean {
    if (this.#state.kind === "lent") return this.#state.returned;
    return this.#state.kind !== "open" && this.#state.kind !== "closed";
  }

  async #open(place: Place): Promise<void> {
    const { name, source, receive } = this.#options;
    if (!this.#isLooking) return;
    if (this.#state.kind === "absent" && this.#failures === 0)
      this.#set({ kind: "opening", path: place.path });
    if (this.#claim?.key !== place.key) {
      this.#unclaim();
      const lock = await claimPort(place.key, place.path, `labgear (pid ${process.pid}) for ${name}`);
      this.#claim = { key: place.key, lock };
    }
    const line = await source.open(place, receive, this.#ending.signal);
    await this.#setLines(line);
    if (this.#ending.signal.aborted) return line[Symbol.asyncDispose]();
    this.#line = line;
    this.#place = place;
    this.#options.opened(line);
    const openedAt = performance.now();
    void line.closed.then((error) => {
      if (this.#line !== line || !error) return;
      if (performance.now() - openedAt > steadyAfterMs) this.#failures = 0;
      this.#lose(error);
    });
    this.#set({ kind: "open", path: place.path });
  }

  async #setLines(line: Line): Promise<void> {
    if (Object.keys(this.#options.lines).length === 0) return;
    try {
      await line.setControl(this.#options.lines);
    } catch (error) {
      // A port without control lines still carries bytes; a reset says what is missing.
      if (error instanceof DeviceError && error.code === "PORT_REFUSED") return;
      await line[Symbol.asyncDispose]();
      throw error;
    }
  }

  #onFailure(cause: Error): void {
    const reason = cause.message;
    const error = cause instanceof DeviceError ? cause : new DeviceError("PORT_REFUSED", reason, { cause });
    const isGone = error.code === "PORT_ABSENT" || error.code === "PORT_LOST";
    this.#fail(isGone ? { kind: "absent", reason } : { kind: "refused", reason, error });
    this.#retryLater();
  }

  /** A lent port that was just returned gets its time to come back. */
  #fail(state: PortState): void {
    if (!this.#isLooking || this.#state.kind === "lent") return;
    this.#unclaim();
    this.#set(state);
  }

  /** If the path or serial number leads to another device file now, the open one is no longer the configured port. */
  #leaveIfElsewhere(place: Place | undefined): void {
    if (!place || place.key === this.#place?.key) return;
    this.#lose(new DeviceError("PORT_LOST", `${this.#options.name}'s port is ${place.path} now`));
  }

  /** The line is gone, and perhaps the port too. */
  #lose(error: DeviceError): void {
    this.#options.lost(error);
    const dropping = this.#drop();
    this.#unclaim();
    this.#set({ kind: "absent", reason: error.message });
    // Reopens at once; a port that keeps going away waits.
    if (this.#failures === 0) void dropping.then(this.#wake);
    this.#retryLater();
  }

  /** Spread in time, so that many ports of one server don't all come back at once. */
  #retryLater(): void {
    const waitMs = Math.min(lastRetryMs, firstRetryMs * 2 ** this.#failures);
    this.#failures += 1;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(this.#wake, waitMs * (0.75 + Math.random() / 2)).unref();
  }

  async #drop(): Promise<void> {
    const line = this.#line;
    if (!line) return;
    this.#options.closing();
    this.#line = undefined;
    this.#place = undefined;
    await line[Symbol.asyncDispose]();
  }

  #set(state: PortState): void {
    if (this.#state.kind === "closed") return;
    const before = this.#state;
    this.#state = state;
    const isSame =
      state.kind === before.kind && "reason" in state && "reason" in before && state.reason === before.reason;
    if (!isSame) this.#options.changed();
  }

  #unclaim(): void {
    this.#claim?.lock[Symbol.dispose]();
    this.#claim = undefined;
  }
}

/**
 * Claims a port for one process on this box, also while it is lent to another program: takes a name in the kernel's
 * abstract socket space (unix(7)), which no crash can leave behind. A process that connects to it reads who holds the port.
 *
 * @param key names the port itself, whatever path leads to it
 * @throws DeviceError PORT_BUSY when another process holds it
 */
async function claimPort(key: string, path: string, who: string): Promise<Disposable> {
  const address = `\0labgear/port/${createHash("sha256").update(key).digest("hex")}`;
  const server = createServer((socket) => {
    socket.on("error", () => {}).end(who);
    socket.setTimeout(holderTimeoutMs, () => socket.destroy());
  });
  server.maxConnections = 16;
  server.listen(address);
  try {
    await once(server, "listening");
  } catch (cause) {
    const holder = (await askHolder(address)) || "another labgear";
    const message = `${path} is in use by ${holder}: one of the two has to release it`;
    throw new DeviceError("PORT_BUSY", message, { cause });
  }
  server.unref();
  // A failed accept costs nothing but an answer.
  server.on("error", () => {});
  return { [Symbol.dispose]: () => void server.close() };
}

async function askHolder(address: string): Promise<string> {
  const socket = connect(address).setEncoding("utf8");
  let said = "";
  const timer = setTimeout(() => socket.destroy(), holderTimeoutMs);
  try {
    for await (const text of socket) said = (said + text).slice(0, 200);
  } catch {
    // The holder doesn't answer: the message does without its name.
  }
  clearTimeout(timer);
  return said.replaceAll(/[\p{Cc}\p{Cf}]/gu, "");
}
