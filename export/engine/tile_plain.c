/* needs tile tile_thumb */
#if !DSP || PLAIN
#if !THUMB_1
static void dot_8(const uint8_t* w, const int16_t* x, const int16_t* end, int pixels, uint32_t* sums) {
  for (int i = 0; i < 6; ++i) sums[i] = 0;
  for (; x < end; w += 4) {
    for (int p = 0; p < pixels; ++p, x += 2) {
      sums[p] += (uint32_t)(TAP(w[0]) * x[0] + TAP(w[2]) * x[1]);
      sums[3 + p] += (uint32_t)(TAP(w[1]) * x[0] + TAP(w[3]) * x[1]);
    }
  }
}
#else
DOT(dot_8, PAIRS_8, PAIRS_OF_ONE_8)
#endif
static int8_t* plain_three(const Tile* t, const int16_t* columns, int8_t* out) {
  return all_channels(t, columns, 3, out, dot_8, 8);
}
static int8_t* plain_one(const Tile* t, const int16_t* columns, int8_t* out) {
  return all_channels(t, columns, 1, out, dot_8, 8);
}
static const Form kPlain = {plain_three, plain_one};
#endif
