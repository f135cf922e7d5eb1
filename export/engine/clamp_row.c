/* needs bands clamp */
static void clamp_row(const Stage* s, const Band* in, UNUSED const Band* second, int y, int8_t* out,
                      UNUSED void* work) {
  Clamp c = *(const Clamp*)s->op;
  c.count /= s->height;
  clamp(&c, row_of(in, y), out);
}
