/* A menu of single keys without echo: v version, t temperature, c crash, r restart. */
#include "board.h"

void run(void) {
  say("\nmenu: v t c r\n");
  for (unsigned temperature = 21;; temperature++) {
    say("> ");
    switch (heard()) {
      case 'v':
        say("version 1.4\n");
        break;
      case 't':
        say("temperature ");
        say_number(temperature, 2);
        say(" C\n");
        break;
      case 'c':
        crash();
        break;
      case 'r':
        restart();
        break;
      default:
        say("?\n");
    }
  }
}
