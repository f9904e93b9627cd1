/** Decides on which executor of a node a build runs. */
import { aborted } from "node:util";
import type { Build } from "#/builds/build.ts";

/** What placement needs of an executor. */
export interface Place {
  readonly idle: boolean;
  /** It has this build from now on. */
  occupy(build: Build): void;
}

interface Waiting<P> {
  readonly build: Build;
  readonly give: (place: P) => void;
}

/**
 * An executor that loses its connection during a build goes on with the build and asks for jobs again, so that the job can be
 * attached when it is handed out again. It may be handed another one instead. That one runs on any executor that is idle, and
 * waits only while there is none.
 *
 *     assigned ──an executor is idle──▶ placed
 *        └──none is──▶ waiting ──one becomes idle──▶ placed
 *                         └──stopped──▶ never placed
 */
export class Placement<P extends Place> {
  readonly #waiting: Waiting<P>[] = [];

  /** Builds that no executor has yet, in the order of their turns. */
  get waiting(): readonly Build[] {
    return this.#waiting.map(({ build }) => build);
  }

  /**
   * @param places in the order of preference
   * @returns undefined when the build was stopped before it got a place
   */
  async place(build: Build, places: readonly P[]): Promise<P | undefined> {
    const idle = places.find((place) => place.idle);
    if (idle) {
      idle.occupy(build);
      return idle;
    }
    const turn = Promise.withResolvers<P>();
    const waiting = { build, give: turn.resolve };
    this.#waiting.push(waiting);
    await Promise.race([turn.promise, aborted(build.signal, build)]);
    const at = this.#waiting.indexOf(waiting);
    // The stop may come in the same turn as the place.
    if (at < 0) return await turn.promise;
    this.#waiting.splice(at, 1);
    return undefined;
  }

  /** Gives a place that has become idle to the next build. */
  next(place: P): void {
    const [first] = this.#waiting.splice(0, 1);
    if (!first) return;
    place.occupy(first.build);
    first.give(place);
  }
}
