/** Chance that is the same in every run, so that a failure can be repeated. */

/** Whole numbers from 0 to below the bound, by a linear congruential generator. */
export function seeded(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/** Bytes of all values. */
export function seededBytes(random: (bound: number) => number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)));
}
