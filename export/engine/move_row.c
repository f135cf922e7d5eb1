/* needs bands move */
static void move_row(const Stage* s, const Band* in, UNUSED const Band* second, int y, int8_t* out,
                     UNUSED void* work) {
  Move m = *(const Move*)s->op;
  m.sizes[0] /= s->height;
  m.filled /= s->height;
  move(&m, row_of(in, y), out);
}
