/* needs spread */
static int32_t subtract_of(const Spread* s, int32_t a, int32_t b) {
  return rescale(first_of(s, a) - second_of(s, b), s->factor);
}
KERNEL void subtract(const Spread* s, const int8_t* first, const int8_t* second, int8_t* out) {
  spread(s, subtract_of, first, second, out);
}
