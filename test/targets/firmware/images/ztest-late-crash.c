/* Zephyr's ztest: the project passes, and then the processor has a fault. */
#include "board.h"

void run(void) {
  say("*** Booting Zephyr OS build v3.5.0 ***\n"
      "Running TESTSUITE arithmetic\n"
      "===================================================================\n"
      "START - test_addition\n"
      " PASS - test_addition in 0.001 seconds\n"
      "===================================================================\n"
      "TESTSUITE arithmetic succeeded\n"
      "===================================================================\n"
      "RunID: 5e11ab1e0000000000000000000000aa\n"
      "PROJECT EXECUTION SUCCESSFUL\n");
  crash();
}
