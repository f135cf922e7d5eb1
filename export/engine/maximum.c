/* needs spread */
static int32_t maximum_of(const Spread* s, int32_t a, int32_t b) {
  (void)s;
  return a > b ? a : b;
}
KERNEL void maximum(const Spread* s, const int8_t* first, const int8_t* second, int8_t* out) {
  spread(s, maximum_of, first, second, out);
}
