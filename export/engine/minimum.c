/* needs spread */
static int32_t minimum_of(const Spread* s, int32_t a, int32_t b) {
  (void)s;
  return a < b ? a : b;
}
KERNEL(minimum) { spread(op, minimum_of, in, more, out); }
