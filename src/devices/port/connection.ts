/** Keeps a port's line open: finds the port, claims and opens it, and begins again whenever it went. */
import { DeviceError } from "../errors.ts";
import { claimPort } from "./claim.ts";
import type { Line, Receive } from "./line.ts";
import { Retry } from "./retry.ts";
import type { Place, Source } from "./source.ts";
import type { PortState } from "./state.ts";

/** How long a port that was lent may take to come back: boards with USB of their own go away as they are reset. */
const backTimeout = 5000;
/** How long a port may be away while it is lent before the loan is lost, in milliseconds: they come back in less. */
const lentAbsence = 1500;

export interface PortConnectionOptions {
  /** Of the device. */
  readonly name: string;
  readonly source: Source;
  readonly receive: Receive;
  /** After each change of the state. */
  readonly changed: () => void;
  readonly opened: (line: Line) => void;
  /** Before the line is closed, by whomever. */
  readonly closing: () => void;
  /** The line, or a port that was lent, is gone. */
  readonly lost: (error: DeviceError) => void;
}

export class PortConnection implements AsyncDisposable {
  readonly #options: PortConnectionOptions;
  readonly #watch: Disposable;
  readonly #ending = new AbortController();
  readonly #retry = new Retry(() => this.#wake());
  #state: PortState = { kind: "absent", reason: "it wasn't looked for yet" };
  #line: Line | undefined;
  #place: Place | undefined;
  #claim: { readonly key: string; readonly lock: Disposable } | undefined;
  /** The looking that is under way, and whether something changed meanwhile. */
  #settling: Promise<void> | undefined;
  #changed = false;
  /** Runs while a port that is lent isn't there. */
  #absence: NodeJS.Timeout | undefined;

  /** Begins to look at once. */
  constructor(options: PortConnectionOptions) {
    this.#options = options;
    this.#watch = options.source.watch(() => this.#wake());
    this.#wake();
  }

  get state(): PortState {
    return this.#state;
  }

  /** There is one while the port is open. */
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

  /** @param opened resolves when the port is open, or after so many milliseconds */
  async takeBack(opened: (timeout: number) => Promise<boolean>): Promise<void> {
    if (this.#state.kind !== "lent") return;
    this.#watchLoan(true);
    this.#retry.reset();
    this.#set({ ...this.#state, returned: true });
    this.#wake();
    if (await opened(backTimeout)) return;
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
    this.#retry[Symbol.dispose]();
    clearTimeout(this.#absence);
    await this.#settling;
    await this.#drop();
    this.#unclaim();
  }

  notThere(): DeviceError {
    const why = "reason" in this.#state ? `: ${this.#state.reason}` : "";
    return new DeviceError("PORT_ABSENT", `${this.#options.name}'s port is ${this.#state.kind}${why}`);
  }

  /** Looks for the port; when that is being done, once more afterwards. */
  #wake(): void {
    this.#changed = true;
    this.#settling ??= this.#settle();
  }

  async #settle(): Promise<void> {
    // What woke this one up goes on first.
    await Promise.resolve();
    while (this.#changed && this.#state.kind !== "closed") {
      this.#changed = false;
      try {
        const place = await this.#options.source.find();
        if (this.#state.kind === "lent" && !this.#state.returned) this.#watchLoan(place !== undefined);
        else if (this.#state.kind === "open") this.#leaveIfElsewhere(place);
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
    if (this.#state.kind === "absent" && this.#retry.isFresh)
      this.#set({ kind: "opening", path: place.path });
    if (this.#claim?.key !== place.key) {
      this.#unclaim();
      const lock = await claimPort(place.key, place.path, `labgear (pid ${process.pid}) for ${name}`);
      this.#claim = { key: place.key, lock };
    }
    const line = await source.open(place, receive, this.#ending.signal);
    if (this.#ending.signal.aborted) return line[Symbol.asyncDispose]();
    this.#line = line;
    this.#place = place;
    this.#options.opened(line);
    const since = performance.now();
    void line.closed.then((error) => {
      if (this.#line !== line || !error) return;
      this.#retry.stood(performance.now() - since);
      this.#lose(error);
    });
    this.#set({ kind: "open", path: place.path });
  }

  #onFailure(cause: Error): void {
    const reason = cause.message;
    const error = cause instanceof DeviceError ? cause : new DeviceError("PORT_REFUSED", reason, { cause });
    const isGone = error.code === "PORT_ABSENT" || error.code === "PORT_LOST";
    this.#fail(isGone ? { kind: "absent", reason } : { kind: "refused", reason, error });
    this.#retry.later();
  }

  /** A port that was given back is granted a moment. */
  #fail(state: PortState): void {
    if (!this.#isLooking || this.#state.kind === "lent") return;
    this.#unclaim();
    this.#set(state);
  }

  /** Whoever has a port that went away for good is told, as there is no line whose end would tell. */
  #watchLoan(isThere: boolean): void {
    if (isThere) {
      clearTimeout(this.#absence);
      this.#absence = undefined;
      return;
    }
    this.#absence ??= setTimeout(() => {
      if (this.#state.kind !== "lent" || this.#state.returned) return;
      const { absence } = this.#options.source;
      this.#options.lost(new DeviceError("PORT_LOST", `it went away while it was lent: ${absence}`));
    }, lentAbsence);
  }

  /** The path or serial number leads to another device file now: what is open is no longer the configured port. */
  #leaveIfElsewhere(place: Place | undefined): void {
    if (!place || place.key === this.#place?.key) return;
    this.#lose(new DeviceError("PORT_LOST", `${this.#options.name}'s port is ${place.path} now`));
  }

  /** The line is gone, and the port perhaps as well. */
  #lose(error: DeviceError): void {
    this.#options.lost(error);
    const dropping = this.#drop();
    this.#unclaim();
    this.#set({ kind: "absent", reason: error.message });
    // At once, unless it keeps going away: then after a while.
    if (this.#retry.isFresh) void dropping.then(() => this.#wake());
    this.#retry.later();
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
