/* needs tile */
/* Without the DSP extension, in 16-bit instructions: a word of a column is taken apart into the codes
 * of a pair, and each is multiplied with a byte of the filters of two channels.
 *
 * r0 filters, r1 column; sums of three pixels in r8 to r10 and r11, r12, lr, of one in r3 and r4. */
#if THUMB_1
#define TAP_8(to, byte, nibble) "ldrb " to ", [r0, #" byte "]\n"
#define TAP_4(to, byte, nibble)      \
  "ldrb " to ", [r0, #" byte "]\n"   \
  "lsls " to ", " to ", " nibble "\n" \
  "asrs " to ", " to ", #28\n"

#define FIRST_OF(x, sum, other)                                        \
  "sxth r7, " x "\n" "muls r7, r5\n" "add " sum ", r7\n"               \
  "sxth r7, " x "\n" "muls r7, r6\n" "add " other ", r7\n"
#define SECOND_OF(x, sum, other)                                       \
  "asrs " x ", " x ", #16\n"                                           \
  "mov r7, " x "\n" "muls r7, r5\n" "add " sum ", r7\n"                \
  "muls " x ", r6\n" "add " other ", " x "\n"
#define PAIRS_OF_THREE(TAP, nibble, a, b, c, d)                              \
  "ldm r1!, {r2, r3, r4}\n"                                                  \
  TAP("r5", a, nibble) TAP("r6", b, nibble)                                  \
  FIRST_OF("r2", "r8", "r11") FIRST_OF("r3", "r9", "r12") FIRST_OF("r4", "r10", "lr") \
  TAP("r5", c, nibble) TAP("r6", d, nibble)                                  \
  SECOND_OF("r2", "r8", "r11") SECOND_OF("r3", "r9", "r12") SECOND_OF("r4", "r10", "lr")
#define PAIRS_8                                                                              \
  PAIRS_OF_THREE(TAP_8, "", "0", "1", "2", "3") PAIRS_OF_THREE(TAP_8, "", "4", "5", "6", "7") \
  "adds r0, #8\n"
#define PAIRS_4                            \
  PAIRS_OF_THREE(TAP_4, "#28", "0", "1", "2", "3") PAIRS_OF_THREE(TAP_4, "#24", "0", "1", "2", "3") \
  "adds r0, #4\n"

#define BOTH_OF(x, TAP, nibble, a, b)                                   \
  TAP("r5", a, nibble) "muls r5, " x "\n" "adds r3, r5\n"               \
  TAP("r5", b, nibble) "muls r5, " x "\n" "adds r4, r5\n"
#define PAIR_OF_ONE_PIXEL(x, TAP, nibble, a, b, c, d)                         \
  "sxth r2, " x "\n" BOTH_OF("r2", TAP, nibble, a, b)                        \
  "asrs " x ", " x ", #16\n" BOTH_OF(x, TAP, nibble, c, d)
#define PAIRS_OF_ONE_8                                   \
  "ldm r1!, {r6, r7}\n"                                  \
  PAIR_OF_ONE_PIXEL("r6", TAP_8, "", "0", "1", "2", "3") \
  PAIR_OF_ONE_PIXEL("r7", TAP_8, "", "4", "5", "6", "7") \
  "adds r0, #8\n"
#define PAIRS_OF_ONE_4                                      \
  "ldm r1!, {r6, r7}\n"                                     \
  PAIR_OF_ONE_PIXEL("r6", TAP_4, "#28", "0", "1", "2", "3") \
  PAIR_OF_ONE_PIXEL("r7", TAP_4, "#24", "0", "1", "2", "3") \
  "adds r0, #4\n"

#define DOT(name, PAIRS, PAIRS_OF_ONE)                                          \
  __attribute__((naked, noinline)) static void name(                            \
      UNUSED const uint8_t* filters, UNUSED const int16_t* columns,             \
      UNUSED const int16_t* end, UNUSED int pixels, UNUSED uint32_t* sums) {    \
    __asm(".syntax unified\n"                                                   \
          "push {r4-r7, lr}\n"                                                  \
          "mov r12, r2\n"                                                       \
          "ldr r7, [sp, #20]\n"                                                 \
          "cmp r3, #3\n"                                                        \
          "beq 2f\n"                                                            \
          "push {r7}\n"                                                         \
          "movs r3, #0\n"                                                       \
          "movs r4, #0\n"                                                       \
          "1:\n" PAIRS_OF_ONE                                                   \
          "cmp r1, r12\n"                                                       \
          "bne 1b\n"                                                            \
          "pop {r7}\n"                                                          \
          "str r3, [r7]\n"                                                      \
          "str r4, [r7, #12]\n"                                                 \
          "pop {r4-r7, pc}\n"                                                   \
          "2:\n"                                                                \
          "mov r3, r8\n"                                                        \
          "mov r4, r9\n"                                                        \
          "mov r5, r10\n"                                                       \
          "mov r6, r11\n"                                                       \
          "push {r2-r7}\n"                                                      \
          "movs r2, #0\n"                                                       \
          "mov r8, r2\n"                                                        \
          "mov r9, r2\n"                                                        \
          "mov r10, r2\n"                                                       \
          "mov r11, r2\n"                                                       \
          "mov r12, r2\n"                                                       \
          "mov lr, r2\n"                                                        \
          "3:\n" PAIRS                                                          \
          "ldr r7, [sp]\n"                                                      \
          "cmp r1, r7\n"                                                        \
          "bne 3b\n"                                                            \
          "ldr r7, [sp, #20]\n"                                                 \
          "mov r1, r8\n"                                                        \
          "mov r2, r9\n"                                                        \
          "mov r3, r10\n"                                                       \
          "mov r4, r11\n"                                                       \
          "mov r5, r12\n"                                                       \
          "mov r6, lr\n"                                                        \
          "stm r7!, {r1-r6}\n"                                                  \
          "pop {r2-r7}\n"                                                       \
          "mov r8, r3\n"                                                        \
          "mov r9, r4\n"                                                        \
          "mov r10, r5\n"                                                       \
          "mov r11, r6\n"                                                       \
          "pop {r4-r7, pc}\n");                                                 \
  }
#endif
