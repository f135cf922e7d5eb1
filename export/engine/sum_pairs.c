/* needs spread */
static int32_t sum_pairs_of(const Spread* s, int32_t a, int32_t b) {
  return rescale(first_of(s, a) + second_of(s, b), s->factor);
}
KERNEL(sum_pairs) { spread(op, sum_pairs_of, in, more, out); }
