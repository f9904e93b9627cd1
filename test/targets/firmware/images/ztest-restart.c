/* Zephyr's ztest: the board starts again in the middle of a case, each time. */
#include "board.h"

void run(void) {
  say("*** Booting Zephyr OS build v3.5.0 ***\n"
      "Running TESTSUITE arithmetic\n"
      "===================================================================\n"
      "START - test_addition\n");
  restart();
}
