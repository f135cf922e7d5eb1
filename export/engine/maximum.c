/* needs spread */
static int32_t maximum_of(const Spread* s, int32_t a, int32_t b) {
  (void)s;
  return a > b ? a : b;
}
KERNEL(maximum) { spread(op, maximum_of, in, more, out); }
