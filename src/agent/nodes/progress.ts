/** A build's progress, estimated from how long the job took before. */
import type { Build } from "#/builds/build.ts";

/**
 * Raises the build's progress as time passes, until disposed.
 * @param expected milliseconds; undefined: nothing is known, and the progress stays as it is
 */
export function estimateProgress(build: Build, expected: number | undefined): Disposable {
  if (!expected) return { [Symbol.dispose]() {} };
  const begun = performance.now();
  // A hundred steps, but no more than one a second: nobody looks closer.
  const timer = setInterval(
    () => {
      build.progress = (100 * (performance.now() - begun)) / expected;
    },
    Math.max(1000, expected / 100),
  );
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
