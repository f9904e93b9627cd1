/** Whether the clock can be gone by when old things are removed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Calendar } from "#/agent/housekeeping.ts";

const hour = 60 * 60 * 1000;
const day = 24 * hour;
const year = 365 * day;
const month = 30 * day;

/** A calendar over two clocks, and a hand on each. */
function box(wall = Date.UTC(2026, 0, 1)) {
  const time = { wall, monotonic: 1000 };
  const calendar = new Calendar({ wall: () => time.wall, monotonic: () => time.monotonic });
  const pass = (milliseconds: number) => {
    time.wall += milliseconds;
    time.monotonic += milliseconds;
  };
  return { time, calendar, pass };
}

test("an even clock is gone by, at once and for as long as it goes", () => {
  const { time, calendar, pass } = box();
  for (let count = 0; count < 1000; count++) {
    assert.equal(calendar.now(time.wall - day, month), time.wall);
    pass(hour);
    // Slewed by a time server.
    time.wall += 500;
  }
});

for (const [what, by] of [
  ["forward by years", 5 * year],
  ["back by years", -5 * year],
] as const) {
  test(`a clock that jumped ${what} is gone by after an even day`, () => {
    const { time, calendar, pass } = box();
    calendar.now(time.wall, month);
    time.wall += by;
    assert.equal(calendar.now(time.wall, month), undefined);
    pass(day - 1);
    assert.equal(calendar.now(time.wall, month), undefined);
    pass(1);
    assert.equal(calendar.now(time.wall, month), time.wall);
  });
}

test("each jump starts the day anew", () => {
  const { time, calendar, pass } = box();
  calendar.now(time.wall, month);
  for (let count = 0; count < 4; count++) {
    time.wall += year;
    assert.equal(calendar.now(time.wall, month), undefined);
    pass(20 * hour);
    assert.equal(calendar.now(time.wall, month), undefined);
  }
  pass(4 * hour);
  assert.equal(calendar.now(time.wall, month), time.wall);
});

for (const [what, newest] of [
  ["too old", -2 * month],
  ["still to come", 2 * hour],
] as const) {
  test(`a clock by which everything is ${what} at the start is gone by after a day`, () => {
    const { time, calendar, pass } = box();
    assert.equal(calendar.now(time.wall + newest, month), undefined);
    pass(day);
    assert.equal(calendar.now(time.wall + newest, month), time.wall);
  });
}

test("a box without builds has nothing to doubt by", () => {
  const { time, calendar, pass } = box();
  assert.equal(calendar.now(Number.NEGATIVE_INFINITY, month), time.wall);
  pass(2 * month);
  assert.equal(calendar.now(time.wall - 2 * month, month), time.wall, "nothing was built for two months");
});
