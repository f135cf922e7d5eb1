/* needs tile */
#if !DSP || PLAIN4
/* Weights of 4 bits in plain C: bytes hold an element of each of two pairs. Masked but not shifted,
 * they are 16 times as large, and so are sums and biases. */
static int8_t* plain4(const Tile* t, const int16_t* columns, int pixels, int8_t* out) {
  const uint8_t* w = t->weights;
  for (int c = 0; c < t->channels; c += 2, w += 2 * t->pairs) {
    for (int p = 0; p < pixels; ++p) {
      int32_t sums[2] = {t->scales[c].bias, t->scales[c + 1].bias};
      const int16_t* x = columns + 2 * p;
      for (int i = 0; i < 2 * t->pairs; i += 4, x += 4 * pixels) {
        for (int j = 0; j < 4; ++j) {
          const uint8_t nibbles = w[i + j];
          sums[j & 1] += x[j >> 1] * (int8_t)(nibbles << 4);
          sums[j & 1] += x[2 * pixels + (j >> 1)] * (int8_t)(nibbles & 0xF0);
        }
      }
      finish(t, c, sums[0] >> 4, out + p * t->channels + c);
      if (c + 1 < t->channels) finish(t, c + 1, sums[1] >> 4, out + p * t->channels + c + 1);
    }
  }
  return out + pixels * t->channels;
}
static int8_t* plain4_three(const Tile* t, const int16_t* columns, int8_t* out) {
  return plain4(t, columns, 3, out);
}
static int8_t* plain4_one(const Tile* t, const int16_t* columns, int8_t* out) {
  return plain4(t, columns, 1, out);
}
static const Form kPlain4 = {plain4_three, plain4_one};
#endif
