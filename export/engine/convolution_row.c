/* needs bands convolution */
static void convolution_row(const Stage* s, const Band* in, UNUSED const Band* second, int y,
                            int8_t* out, void* work) {
  Convolution c = *(const Convolution*)s->op;
  const int8_t* from = narrowed(&c.window, s, in, y);
  convolution(&c, from, out, work);
}
