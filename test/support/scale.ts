/** How much a test does: a little in `npm test`, all of it in `npm run test:long`. */

/** The smaller of two amounts, or in the long run the full one. */
export function scale(small: number, full: number): number {
  return process.env.LABGEAR_TEST_LONG ? full : small;
}
