/* Zephyr's ztest: three cases, one of them skipped; the project passes. */
#include "board.h"

void run(void) {
  say("*** Booting Zephyr OS build v3.5.0 ***\n"
      "Running TESTSUITE arithmetic\n"
      "===================================================================\n"
      "START - test_addition\n"
      " PASS - test_addition in 0.001 seconds\n"
      "===================================================================\n"
      "START - test_division\n"
      " SKIP - test_division in 0.002 seconds\n"
      "===================================================================\n"
      "START - test_subtraction\n"
      " PASS - test_subtraction in 0.013 seconds\n"
      "===================================================================\n"
      "TESTSUITE arithmetic succeeded\n"
      "\n------ TESTSUITE SUMMARY START ------\n\n"
      "SUITE PASS - 100.00% [arithmetic]: pass = 2, fail = 0, skip = 1, total = 3 duration = 0.016 seconds\n"
      " - PASS - [arithmetic.test_addition] duration = 0.001 seconds\n"
      " - SKIP - [arithmetic.test_division] duration = 0.002 seconds\n"
      " - PASS - [arithmetic.test_subtraction] duration = 0.013 seconds\n"
      "\n------ TESTSUITE SUMMARY END ------\n\n"
      "===================================================================\n"
      "RunID: 5e11ab1e0000000000000000000000aa\n"
      "PROJECT EXECUTION SUCCESSFUL\n");
}
