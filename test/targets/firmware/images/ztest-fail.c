/* Zephyr's ztest: one of two cases fails. */
#include "board.h"

void run(void) {
  say("*** Booting Zephyr OS build v3.5.0 ***\n"
      "Running TESTSUITE arithmetic\n"
      "===================================================================\n"
      "START - test_addition\n"
      " PASS - test_addition in 0.001 seconds\n"
      "===================================================================\n"
      "START - test_subtraction\n"
      "\n    Assertion failed at src/main.c:31: arithmetic_test_subtraction: (3 - 1 == 3 is false)\n"
      "one less is two\n"
      " FAIL - test_subtraction in 0.004 seconds\n"
      "===================================================================\n"
      "TESTSUITE arithmetic failed.\n"
      "\n------ TESTSUITE SUMMARY START ------\n\n"
      "SUITE FAIL -  50.00% [arithmetic]: pass = 1, fail = 1, skip = 0, total = 2 duration = 0.005 seconds\n"
      " - PASS - [arithmetic.test_addition] duration = 0.001 seconds\n"
      " - FAIL - [arithmetic.test_subtraction] duration = 0.004 seconds\n"
      "\n------ TESTSUITE SUMMARY END ------\n\n"
      "===================================================================\n"
      "RunID: 5e11ab1e0000000000000000000000aa\n"
      "PROJECT EXECUTION FAILED\n");
}
