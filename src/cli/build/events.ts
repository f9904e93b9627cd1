/** What happens to a build that is followed, and who shows it. */
import type { WriteStream } from "node:tty";

/** Where a build ran, as its data says it. */
export interface BuildFacts {
  readonly name?: unknown;
  readonly number?: unknown;
  readonly manager?: unknown;
  readonly node_name?: unknown;
  readonly url?: unknown;
}

/** What happens to a build, as `--json` prints it. */
export type ShownEvent =
  | { readonly event: "created"; readonly job: string; readonly uuid: string; readonly handle?: string }
  | {
      readonly event: "waiting";
      /** Builds that wait in its function, this one included. */
      readonly queued: number;
      /** How many of all builds that wait for the same executors are served before this one is, and itself. */
      readonly place?: number;
      readonly why: string;
    }
  | ({ readonly event: "started" } & BuildFacts)
  | { readonly event: "output"; readonly text: string }
  | { readonly event: "progress"; readonly percent: number }
  | { readonly event: "stopping"; readonly again: string }
  | { readonly event: "notice"; readonly text: string }
  | ({
      readonly event: "ended";
      readonly result?: string;
      readonly reason?: string;
      readonly cause?: string;
    } & BuildFacts);

export interface Renderer extends Disposable {
  show(event: ShownEvent): void;
}

export type Out = Pick<WriteStream, "write"> & { readonly isTTY?: boolean; readonly columns?: number };

export interface Outputs {
  /** For the build's output. */
  readonly output: Out;
  /** For our own lines. */
  readonly own: Out;
}
