/* needs spread */
static int32_t multiply_of(const Spread* s, int32_t a, int32_t b) {
  return rescale((a - s->first_zero) * (b - s->second_zero), s->factor);
}
KERNEL void multiply(const Spread* s, const int8_t* first, const int8_t* second, int8_t* out) {
  spread(s, multiply_of, first, second, out);
}
