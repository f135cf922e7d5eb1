/* needs spread */
static int32_t sum_pairs_of(const Spread* s, int32_t a, int32_t b) {
  return rescale(first_of(s, a) + second_of(s, b), s->factor);
}
KERNEL void sum_pairs(const Spread* s, const int8_t* first, const int8_t* second, int8_t* out) {
  spread(s, sum_pairs_of, first, second, out);
}
