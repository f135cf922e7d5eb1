/* needs fixed_point */
/* Clips codes in place, four at a time where the core can. */
#if DSP
static inline uint32_t selected(uint32_t codes, uint32_t limit, int is_lowest) {
  if (is_lowest) {
    __asm("ssub8 r12, %0, %1\nsel %0, %0, %1" : "+r"(codes) : "r"(limit) : "r12", "cc");
  } else {
    __asm("ssub8 r12, %1, %0\nsel %0, %0, %1" : "+r"(codes) : "r"(limit) : "r12", "cc");
  }
  return codes;
}
#endif

SHARED void clip(int8_t* codes, int count, int low, int high) {
  if (low == -128 && high == 127) return;
#if DSP
  const uint32_t lowest = (uint8_t)low * 0x01010101U, highest = (uint8_t)high * 0x01010101U;
  for (int fours = count >> 2; fours > 0; --fours, codes += 4) {
    uint32_t four;
    memcpy(&four, codes, 4);
    four = selected(selected(four, lowest, 1), highest, 0);
    memcpy(codes, &four, 4);
  }
  for (count &= 3; count > 0; --count, ++codes) {
    *codes = (int8_t)selected(selected((uint8_t)*codes, lowest, 1), highest, 0);
  }
#else
  for (; count > 0; --count, ++codes) *codes = clamped(*codes, low, high);
#endif
}
