/* What an image needs of the board: a Stellaris LM3S6965 as QEMU has it (machine lm3s6965evb). */
#ifndef BOARD_H
#define BOARD_H

/* The image's own part; it runs once after each reset, and the board sleeps when it returns. */
void run(void);

/* Text to the first UART, and each end of a line as CR LF. */
void say(const char *text);
void say_number(unsigned number, unsigned digits);

/* The next byte that came over the UART; waits for it. */
char heard(void);

/* A real fault of the processor; its handler reports as Zephyr does, and halts. */
void crash(void);

/* The board starts again. */
void restart(void);

#endif
