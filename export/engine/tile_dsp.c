/* needs tile */
/* With the DSP extension: a word of filters is a pair of elements of two channels, which SXTB16 takes
 * apart; SMLAD multiplies them with a word of a column. Rescaling takes SMMULR, whose result is
 * TFLM's where |sum| < 2^30, and shifts from 1 to 22.
 *
 * r0 filters, r1 column, r2 its end; r4 to r6 sums of one channel, r7 to r9 of the other. */
#if DSP
#define FRAME /* column, end, scales, shifts, out, last, channels, zero, pairs */ \
  "push {r4-r11, lr}\n"                                                                \
  "sub sp, sp, #36\n"                                                                  \
  "ldrh r4, [r0, #12]\n"                                                               \
  "ldrh r5, [r0, #14]\n"                                                               \
  "str r4, [sp, #32]\n"                                                                \
  "str r1, [sp]\n"                                                                     \
  "str r2, [sp, #16]\n"                                                                \
  "add r6, r2, r5\n"                                                                   \
  "strd r6, r5, [sp, #20]\n"                                                           \
  "ldrd r6, r7, [r0, #4]\n"                                                            \
  "strd r6, r7, [sp, #8]\n"                                                            \
  "ldrsh r6, [r0, #16]\n"                                                              \
  "str r6, [sp, #28]\n"                                                                \
  "ldr r0, [r0]\n"
#define LEAVE       \
  "add sp, sp, #36\n" \
  "pop {r4-r11, pc}\n"

/* Loads what rescales channel `n`: r10 multiplier, r11 shift, lr rounding and zero point. */
#define SCALES(n)                   \
  "ldrd r12, r2, [sp, #8]\n"        \
  "ldr r3, [sp, #28]\n"             \
  "ldr r10, [r12, #(8*" n "+4)]\n"  \
  "ldrsb r11, [r2, #" n "]\n"       \
  "sub lr, r11, #1\n"               \
  "lsl lr, r3, lr\n"
#define RESCALED(sum, doubled)        \
  doubled                             \
  "smmulr " sum ", " sum ", r10\n"    \
  "add " sum ", " sum ", " sum ", asr #31\n" \
  "add " sum ", lr\n"                 \
  "asr " sum ", r11\n"                \
  "ssat " sum ", #8, " sum "\n"
#define DOUBLED(sum) "lsl " sum ", " sum ", #1\n"
#define EIGHTH(sum) "asr " sum ", " sum ", #3\n" /* sums of 4-bit filters are 16 times as large */
#define PAIR                       \
  "ldr r3, [r0], #4\n"             \
  "ldm r1!, {r10, r11, r12}\n"     \
  "sxtb16 lr, r3\n"                \
  "sxtb16 r3, r3, ror #8\n"        \
  "smlad r4, r10, lr, r4\n"        \
  "smlad r5, r11, lr, r5\n"        \
  "smlad r6, r12, lr, r6\n"        \
  "smlad r7, r10, r3, r7\n"        \
  "smlad r8, r11, r3, r8\n"        \
  "smlad r9, r12, r3, r9\n"
#define LOOP_8                 \
  "lsls r3, r3, #30\n"         \
  "bmi 2f\n"                   \
  "1:\n" PAIR PAIR             \
  "2:\n" PAIR PAIR             \
  "cmp r1, r2\n"               \
  "bne 1b\n"

#define NIBBLES(take)              \
  take                             \
  "ldm r1!, {r10, r11, r12}\n"     \
  "sxtb16 r2, lr\n"                \
  "sxtb16 lr, lr, ror #8\n"        \
  "smlad r4, r10, r2, r4\n"        \
  "smlad r5, r11, r2, r5\n"        \
  "smlad r6, r12, r2, r6\n"        \
  "smlad r7, r10, lr, r7\n"        \
  "smlad r8, r11, lr, r8\n"        \
  "smlad r9, r12, lr, r9\n"
#define TWO_PAIRS_4                                                \
  "ldr r3, [r0], #4\n"                                             \
  NIBBLES("lsl lr, r3, #4\n" "and lr, lr, #0xF0F0F0F0\n")          \
  NIBBLES("and lr, r3, #0xF0F0F0F0\n")
#define LOOP_4                 \
  "lsls r3, r3, #30\n"         \
  "bmi 2f\n"                   \
  "1:\n" TWO_PAIRS_4           \
  "2:\n" TWO_PAIRS_4           \
  "ldr r2, [sp, #4]\n"         \
  "cmp r1, r2\n"               \
  "bne 1b\n"

#define THREE(name, LOOP, DOUBLE)                                  \
  __attribute__((naked, noinline)) static int8_t* name(                           \
      UNUSED const Tile* t, UNUSED const int16_t* columns, UNUSED int8_t* out) {  \
    __asm(FRAME                                                                   \
          "add r4, r4, r4, lsl #1\n"                                              \
          "add r4, r1, r4, lsl #2\n"                                              \
          "str r4, [sp, #4]\n"                                                    \
          "0:\n"                                                                  \
          "ldrd r1, r2, [sp]\n"                                                   \
          "ldr r12, [sp, #8]\n"                                                   \
          "ldr r3, [sp, #32]\n"                                                   \
          "ldr r4, [r12]\n"                                                       \
          "ldr r7, [r12, #8]\n"                                                   \
          "mov r5, r4\n"                                                          \
          "mov r6, r4\n"                                                          \
          "mov r8, r7\n"                                                          \
          "mov r9, r7\n" LOOP                                                     \
          SCALES("0")                                                             \
          RESCALED("r4", DOUBLE("r4")) RESCALED("r5", DOUBLE("r5"))               \
          RESCALED("r6", DOUBLE("r6"))                                            \
          "ldrd r1, r3, [sp, #16]\n"                                              \
          "ldr r2, [sp, #24]\n"                                                   \
          "strb r5, [r1, r2]\n"                                                   \
          "strb r6, [r1, r2, lsl #1]\n"                                           \
          "strb r4, [r1], #1\n"                                                   \
          "mov r4, r1\n"                                                          \
          "cmp r1, r3\n"                                                          \
          "beq 3f\n"                                                              \
          SCALES("1")                                                             \
          RESCALED("r7", DOUBLE("r7")) RESCALED("r8", DOUBLE("r8"))               \
          RESCALED("r9", DOUBLE("r9"))                                            \
          "ldrd r12, r2, [sp, #8]\n"                                              \
          "ldrd r5, r3, [sp, #20]\n"                                              \
          "strb r8, [r4, r3]\n"                                                   \
          "strb r9, [r4, r3, lsl #1]\n"                                           \
          "strb r7, [r4], #1\n"                                                   \
          "add r12, #16\n"                                                        \
          "adds r2, #2\n"                                                         \
          "strd r12, r2, [sp, #8]\n"                                              \
          "str r4, [sp, #16]\n"                                                   \
          "cmp r4, r5\n"                                                          \
          "bne 0b\n"                                                              \
          "3:\n"                                                                  \
          "ldr r3, [sp, #24]\n"                                                   \
          "add r0, r4, r3, lsl #1\n" LEAVE);                                      \
  }

#define PAIR_OF_ONE(filters, codes)             \
  "sxtb16 r10, " filters "\n"                   \
  "sxtb16 " filters ", " filters ", ror #8\n"   \
  "smlad r4, " codes ", r10, r4\n"              \
  "smlad r7, " codes ", " filters ", r7\n"
#define TWO_PAIRS_OF_ONE_8            \
  "ldm r0!, {r5, r6}\n"               \
  "ldm r1!, {r8, r9}\n"               \
  PAIR_OF_ONE("r5", "r8") PAIR_OF_ONE("r6", "r9")
#define TWO_PAIRS_OF_ONE_4            \
  "ldr r5, [r0], #4\n"                \
  "ldm r1!, {r8, r9}\n"               \
  "and r6, r5, #0xF0F0F0F0\n"         \
  "lsl r5, r5, #4\n"                  \
  "and r5, r5, #0xF0F0F0F0\n"         \
  PAIR_OF_ONE("r5", "r8") PAIR_OF_ONE("r6", "r9")

#define ONE(name, TWO_PAIRS, DOUBLE)                               \
  __attribute__((naked, noinline)) static int8_t* name(                           \
      UNUSED const Tile* t, UNUSED const int16_t* column, UNUSED int8_t* out) {   \
    __asm(FRAME                                                                   \
          "add r4, r1, r4, lsl #2\n"                                              \
          "str r4, [sp, #4]\n"                                                    \
          "0:\n"                                                                  \
          "ldrd r1, r2, [sp]\n"                                                   \
          "ldr r12, [sp, #8]\n"                                                   \
          "ldr r3, [sp, #32]\n"                                                   \
          "ldr r4, [r12]\n"                                                       \
          "ldr r7, [r12, #8]\n"                                                   \
          "lsls r3, r3, #30\n"                                                    \
          "bmi 2f\n"                                                              \
          "1:\n" TWO_PAIRS                                                        \
          "2:\n" TWO_PAIRS                                                        \
          "cmp r1, r2\n"                                                          \
          "bne 1b\n"                                                              \
          SCALES("0")                                                             \
          RESCALED("r4", DOUBLE("r4"))                                            \
          "ldrd r1, r3, [sp, #16]\n"                                              \
          "strb r4, [r1], #1\n"                                                   \
          "mov r4, r1\n"                                                          \
          "cmp r1, r3\n"                                                          \
          "beq 3f\n"                                                              \
          SCALES("1")                                                             \
          RESCALED("r7", DOUBLE("r7"))                                            \
          "ldrd r12, r2, [sp, #8]\n"                                              \
          "ldr r3, [sp, #20]\n"                                                   \
          "strb r7, [r4], #1\n"                                                   \
          "add r12, #16\n"                                                        \
          "adds r2, #2\n"                                                         \
          "strd r12, r2, [sp, #8]\n"                                              \
          "str r4, [sp, #16]\n"                                                   \
          "cmp r4, r3\n"                                                          \
          "bne 0b\n"                                                              \
          "3:\n"                                                                  \
          "mov r0, r4\n" LEAVE);                                                  \
  }
#endif
