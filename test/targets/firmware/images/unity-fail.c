/* Unity: one of two cases fails. */
#include "board.h"

void run(void) {
  say("test/test_math.c:12:test_add:PASS\n"
      "test/test_math.c:18:test_subtract:FAIL: Expected 2 Was 3\n"
      "\n-----------------------\n"
      "2 Tests 1 Failures 0 Ignored \n"
      "FAIL\n");
}
