/* Vectors, UART and faults of the board; no C library. */
#include "board.h"

#define REGISTER(address) (*(volatile unsigned *)(address))
#define UART_DATA REGISTER(0x4000C000)
#define UART_FLAGS REGISTER(0x4000C018)
#define UART_LINE_CONTROL REGISTER(0x4000C02C)
#define UART_CONTROL REGISTER(0x4000C030)
#define RESET_CONTROL REGISTER(0xE000ED0C)

enum { RECEIVE_EMPTY = 1 << 4, SEND_FULL = 1 << 5 };

static void put(char c) {
  while (UART_FLAGS & SEND_FULL) {
  }
  UART_DATA = (unsigned char)c;
}

void say(const char *text) {
  for (; *text; text++) {
    if (*text == '\n') put('\r');
    put(*text);
  }
}

void say_number(unsigned number, unsigned digits) {
  char text[11] = {0};
  for (unsigned i = digits; i-- > 0; number /= 10) text[i] = '0' + number % 10;
  say(text);
}

char heard(void) {
  while (UART_FLAGS & RECEIVE_EMPTY) {
  }
  return (char)UART_DATA;
}

void crash(void) { __asm__ volatile("udf #0"); }

void restart(void) { RESET_CONTROL = 0x05FA0004; }

static void halt(void) {
  for (;;) __asm__ volatile("wfi");
}

void start(void) {
  UART_LINE_CONTROL = 3 << 5 | 1 << 4; /* eight bits, FIFO */
  UART_CONTROL = 1 | 1 << 8 | 1 << 9;  /* on, sends, receives */
  run();
  halt();
}

static void fault(void) {
  say("E: ***** USAGE FAULT *****\n");
  say("E:   Attempt to execute undefined instruction\n");
  say("E: >>> ZEPHYR FATAL ERROR 36: Unknown error on CPU 0\n");
  say("E: Current thread: 0x20000120 (test_thread)\n");
  say("E: Halting system\n");
  halt();
}

__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))0x20010000, start, fault, fault, fault, fault, fault,
};
