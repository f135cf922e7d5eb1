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

/* Pixels of the next tile. */
INLINE int together(int left_over) { return left_over >= 3 ? 3 : 1; }

INLINE int8_t* multiplied(const Tile* t, const int16_t* columns, int pixels, int8_t* out) {
  return (pixels == 3 ? t->form->three : t->form->one)(t, columns, out);
}

#if !DSP
#define PAIRED(to, from, count, step)
#else
/* Four codes as two words. */
#define PAIRED(to, from, count, step)                                       \
  for (int fours = count >> 2; fours > 0; --fours, from += 4, to += 4 * step) { \
    uint32_t codes, even, odd, words[2];                                    \
    memcpy(&codes, from, 4);                                                \
    __asm("sxtb16 %0, %1" : "=r"(even) : "r"(codes));                       \
    __asm("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(codes));                \
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(words[0]) : "r"(even), "r"(odd)); \
    __asm("pkhtb %0, %1, %2, asr #16" : "=r"(words[1]) : "r"(odd), "r"(even)); \
    memcpy(to, &words[0], 4);                                               \
    memcpy(to + 2 * step, &words[1], 4);                                    \
  }                                                                         \
  count &= 3;
#endif

/* Writes codes to a column, of `step` that lie side by side, and returns where the next begin. */
SHARED int16_t* widen(int16_t* to, const int8_t* from, int count, int step) {
  PAIRED(to, from, count, step)
  for (; count >= 2; count -= 2, from += 2, to += 2 * step) to[0] = from[0], to[1] = from[1];
  if (count) {
    to[0] = from[0], to[1] = 0;
    to += 2 * step;
  }
  return to;
}

#if !DSP || PLAIN || PLAIN4
/* For any rescaling: sums of two channels by one, from what their filters make of each pixel. */
typedef void Dot(const uint8_t* filters, const int16_t* columns, const int16_t* end, int pixels,
                 uint32_t* sums);

INLINE int8_t* all_channels(const Tile* t, const int16_t* columns, int pixels, int8_t* out, Dot* dot, int bits) {
  const int16_t* const end = columns + 2 * pixels * t->pairs;
  const uint8_t* w = t->weights;
  uint32_t raised[3] = {0}, sums[6];
  for (const int16_t* x = columns; bits == 8 && RAISED != 0 && x < end;) {
    for (int p = 0; p < pixels; ++p, x += 2) raised[p] += (uint32_t)(RAISED * (x[0] + x[1]));
  }
  for (int c = 0; c < t->channels;) {
    dot(w, columns, end, pixels, sums);
    w += t->pairs * bits / 2;
    for (int j = 0; j < 2 && c < t->channels; ++j, ++c, ++out) {
      const int32_t bias = t->scales[c].bias >> (bits == 4 ? 4 : 0);
      const Factor factor = {t->scales[c].multiplier, -t->shifts[c]};
      int8_t* to = out;
      for (int p = 0; p < pixels; ++p, to += t->channels) {
        const uint32_t sum = (uint32_t)bias + sums[3 * j + p] - raised[p];
        *to = to_code(rescale((int32_t)sum, factor) + (t->zero >> 1));
      }
    }
  }
  return out + (pixels - 1) * t->channels;
}
#endif
