/* needs tile */
#if !DSP || PLAIN
/* In plain C, for cores without DSP extension and for scales that its way does not take. */
static int8_t* plain(const Tile* t, const int16_t* columns, int pixels, int8_t* out) {
  for (int p = 0; p < pixels; ++p, columns += 2, out += t->channels) {
    const uint8_t* w = t->weights;
    int32_t total = 0;
    for (int i = 0; i < t->pairs; ++i) {
      total += columns[2 * i * pixels] + columns[2 * i * pixels + 1];
    }
    for (int c = 0; c < t->channels; c += 2) {
      uint32_t first = (uint32_t)(t->scales[c].bias) - (uint32_t)(RAISED * total);
      uint32_t second = (uint32_t)(t->scales[c + 1].bias) - (uint32_t)(RAISED * total);
      const int16_t* x = columns;
      for (int i = t->pairs; i > 0; --i, w += 4, x += 2 * pixels) {
        const int32_t a = x[0], b = x[1];
        first += (uint32_t)(TAP(w[0]) * a + TAP(w[2]) * b);
        second += (uint32_t)(TAP(w[1]) * a + TAP(w[3]) * b);
      }
      finish(t, c, (int32_t)first, out + c);
      if (c + 1 < t->channels) finish(t, c + 1, (int32_t)second, out + c + 1);
    }
  }
  return out;
}
static int8_t* plain_three(const Tile* t, const int16_t* columns, int8_t* out) {
  return plain(t, columns, 3, out);
}
static int8_t* plain_one(const Tile* t, const int16_t* columns, int8_t* out) {
  return plain(t, columns, 1, out);
}
static const Form kPlain = {plain_three, plain_one};
#endif
