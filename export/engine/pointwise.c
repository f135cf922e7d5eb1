/* needs tile */
/* Convolutions 1 x 1 and linear layers: pixels in threes, then one by one. */
typedef struct {
  int32_t pixels, depth;
  Tile tile;
} Pointwise;

KERNEL(pointwise) {
  const Pointwise* p = op;
  int16_t* const columns = more;
  int8_t* const first = out;
  int left_over = p->pixels;
  for (; left_over >= 3; left_over -= 3) {
    for (int i = 0; i < 3; ++i, in += p->depth) widen(columns + 2 * i, in, p->depth, 3);
    out = p->tile.form->three(&p->tile, columns, out);
  }
  for (; left_over > 0; --left_over, in += p->depth) {
    widen(columns, in, p->depth, 1);
    out = p->tile.form->one(&p->tile, columns, out);
  }
  clip(first, (int)(out - first), p->tile.low, p->tile.high);
}
