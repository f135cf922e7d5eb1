/* needs bands pointwise */
static void pointwise_row(const Stage* s, const Band* in, UNUSED const Band* second, int y,
                          int8_t* out, void* work) {
  Pointwise p = *(const Pointwise*)s->op;
  p.pixels /= s->height;
  pointwise(&p, row_of(in, y), out, work);
}
