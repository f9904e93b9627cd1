/* Unity: two cases pass, one is ignored. */
#include "board.h"

void run(void) {
  say("test/test_math.c:12:test_add:PASS\n"
      "test/test_math.c:18:test_subtract:PASS\n"
      "test/test_math.c:25:test_divide:IGNORE: not on this board\n"
      "\n-----------------------\n"
      "3 Tests 0 Failures 1 Ignored \n"
      "OK\n");
}
