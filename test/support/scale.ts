/** How much a test does: a little in `npm test`, all of it in `npm run test:long`. */

/** The smaller of two amounts, or in the long run the full one. */
export function scale<T>(small: T, full: T): T {
  return process.env.LABGEAR_TEST_LONG ? full : small;
}
