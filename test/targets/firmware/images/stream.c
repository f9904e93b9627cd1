/* Numbered lines of 64 bytes, without an end, as fast as the line takes them. */
#include "board.h"

void run(void) {
  for (unsigned number = 0;; number++) {
    say("line ");
    say_number(number, 8);
    say(" abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL\n");
  }
}
