/* needs bands largest */
static void largest_row(const Stage* s, const Band* in, UNUSED const Band* second, int y, int8_t* out,
                        UNUSED void* work) {
  Pool p = *(const Pool*)s->op;
  const int8_t* from = narrowed(&p.window, s, in, y);
  largest(&p, from, out);
}
