/* Zephyr's ztest: a case passes, the next one is a real fault of the processor, and no verdict comes. */
#include "board.h"

void run(void) {
  say("*** Booting Zephyr OS build v3.5.0 ***\n"
      "Running TESTSUITE arithmetic\n"
      "===================================================================\n"
      "START - test_addition\n"
      " PASS - test_addition in 0.001 seconds\n"
      "===================================================================\n"
      "START - test_subtraction\n");
  crash();
}
