/* needs tile */
/* Convolutions 1 x 1 and linear layers: pixels in threes, then one by one. */
typedef struct {
  int32_t pixels, depth;
  Tile tile;
} Pointwise;

KERNEL(pointwise) {
  const Pointwise* p = op;
  int8_t* const first = out;
  for (int left_over = p->pixels; left_over > 0;) {
    const int pixels = together(left_over);
    for (int i = 0; i < pixels; ++i, in += p->depth) widen((int16_t*)more + 2 * i, in, p->depth, pixels);
    out = multiplied(&p->tile, more, pixels, out);
    left_over -= pixels;
  }
  clip(first, (int)(out - first), p->tile.low, p->tile.high);
}
