/** What ends a build that takes too long, says nothing, or has lost its client. */
import type { Build } from "#/builds/build.ts";
import { BuildError } from "#/builds/errors.ts";
import type { JobConfig } from "#/config/model.ts";
import { parseClientTimeout } from "#/exchange/inputs.ts";
import { formatDuration } from "#/lib/units.ts";

/** Stops a build when the job's timeout runs out, until disposed. */
export function watchTimeout(build: Build, { timeoutMs }: JobConfig): Disposable {
  const timer = setTimeout(() => {
    if (build.state.phase === "collecting") return;
    const reason = `the job's timeout of ${formatDuration(timeoutMs)} ran out`;
    // A slow server or disk is not the job's doing.
    if (build.state.phase === "preparing")
      build.stop({ kind: "infrastructure", reason: `${reason} before the job began` });
    else build.stop({ kind: "timed-out", reason });
  }, timeoutMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Stops a build that runs and whose console doesn't grow for the job's `silence`, until disposed. */
export function watchSilence(build: Build, { silenceMs }: JobConfig): Disposable {
  if (silenceMs === undefined) return { [Symbol.dispose]() {} };
  let size = -1;
  let since = performance.now();
  const timer = setInterval(
    () => {
      const now = performance.now();
      const grown = build.console?.size ?? 0;
      if (build.state.phase !== "running" || grown !== size) {
        size = grown;
        since = now;
      } else if (now - since >= silenceMs) {
        const reason = `the job wrote nothing for ${formatDuration(silenceMs)}`;
        build.stop({ kind: "timed-out", reason, cause: "silent-job" });
      }
    },
    Math.min(1000, silenceMs / 10),
  );
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** When each build's client was heard: anything signed by the build's key is a sign of life. */
export class SignsOfLife {
  /** By performance.now(), and later by the time in which it couldn't be heard. */
  readonly #heard = new Map<Build, number>();
  readonly #isReachable: (server: string) => boolean;

  /** @param isReachable whether clients can reach this agent through a job server */
  constructor(isReachable: (server: string) => boolean) {
    this.#isReachable = isReachable;
  }

  heard(build: Build): void {
    if (this.#heard.has(build)) this.#heard.set(build, performance.now());
  }

  /**
   * Stops a build whose client gives no sign of life for as long as it asked for, until disposed. Time counts only while the
   * client could be heard: an outage of the job server is not its fault.
   * @throws BuildError INPUT when the client's request can't be understood
   */
  watch(build: Build, parameters: ReadonlyMap<string, string>): Disposable {
    const timeoutMs = clientTimeout(parameters);
    if (timeoutMs === undefined) return { [Symbol.dispose]() {} };
    if (build.record.key === undefined)
      throw new BuildError("INPUT", "LABGEAR_CLIENT_TIMEOUT needs LABGEAR_KEY, and the client set no key");
    return this.watchFor(build, timeoutMs, 1000);
  }

  /** The same for a client that has to give signs in any case. @param maxLookMs between looks */
  watchFor(build: Build, timeoutMs: number, maxLookMs: number): Disposable {
    let last = performance.now();
    this.#heard.set(build, last);
    const timer = setInterval(
      () => {
        const now = performance.now();
        const deafMs = this.#isReachable(build.record.server) ? 0 : now - last;
        const heard = (this.#heard.get(build) ?? now) + deafMs;
        this.#heard.set(build, heard);
        last = now;
        if (now - heard < timeoutMs) return;
        const reason = `its client gave no sign of life for ${formatDuration(timeoutMs)}`;
        build.stop({ kind: "stopped", reason, cause: "client-gone" });
      },
      Math.min(maxLookMs, timeoutMs / 10),
    );
    return {
      [Symbol.dispose]: () => {
        clearInterval(timer);
        this.#heard.delete(build);
      },
    };
  }
}

/** @returns undefined: the client doesn't ask for it */
function clientTimeout(parameters: ReadonlyMap<string, string>): number | undefined {
  try {
    return parseClientTimeout(parameters.get("LABGEAR_CLIENT_TIMEOUT"));
  } catch (error) {
    throw new BuildError("INPUT", (error as Error).message);
  }
}
