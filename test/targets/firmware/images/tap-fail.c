/* TAP 13: one of two fails. */
#include "board.h"

void run(void) {
  say("TAP version 13\n"
      "1..2\n"
      "ok 1 - adds\n"
      "not ok 2 - subtracts\n"
      "  ---\n"
      "  message: expected 2, was 3\n"
      "  ...\n");
}
