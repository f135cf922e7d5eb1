/* needs fixed_point window scale clip */
/* Dot products of columns with the filters of all channels, rescaled to codes.
 *
 * A column is what one pixel of the output is made of, as 16 bits; element k of pixel p of n lies at
 * (k / 2 * n + p) * 2 + k % 2. Filters come in pairs of channels, their bytes in turn. */
typedef struct Tile Tile;
typedef struct {
  /* Each writes all channels of its pixels and returns where the next ones go. */
  int8_t* (*three)(const Tile*, const int16_t* columns, int8_t* out);
  int8_t* (*one)(const Tile*, const int16_t* column, int8_t* out);
} Form;
struct Tile {
  const void* weights;
  const Scale* scales;
  const int8_t* shifts; /* to the right */
  uint16_t pairs;       /* of elements in a column, even */
  uint16_t channels;
  int16_t zero; /* twice the zero point, and one */
  int8_t low, high;
  const Form* form;
};

#if !DSP
#define PAIRED(to, from, count, step)
#else
/* Four codes as two words. */
#define PAIRED(to, from, count, step)                                       \
  for (; count >= 4; count -= 4, from += 4, to += 4 * step) {               \
    uint32_t codes, even, odd, words[2];                                    \
    memcpy(&codes, from, 4);                                                \
    __asm("sxtb16 %0, %1" : "=r"(even) : "r"(codes));                       \
    __asm("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(codes));                \
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(words[0]) : "r"(even), "r"(odd)); \
    __asm("pkhtb %0, %1, %2, asr #16" : "=r"(words[1]) : "r"(odd), "r"(even)); \
    memcpy(to, &words[0], 4);                                               \
    memcpy(to + 2 * step, &words[1], 4);                                    \
  }
#endif

/* Writes codes to a column, of `step` that lie side by side, and returns where the next begin. */
KERNEL int16_t* widen(int16_t* to, const int8_t* from, int count, int step) {
  PAIRED(to, from, count, step)
  for (; count >= 2; count -= 2, from += 2, to += 2 * step) to[0] = from[0], to[1] = from[1];
  if (count) {
    to[0] = from[0], to[1] = 0;
    to += 2 * step;
  }
  return to;
}

INLINE void finish(const Tile* t, int channel, int32_t sum, int8_t* out) {
  const Factor factor = {t->scales[channel].multiplier, -t->shifts[channel]};
  *out = clamped(rescale(sum, factor) + (t->zero >> 1), -128, 127);
}
