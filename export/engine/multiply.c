/* needs spread */
static int32_t multiply_of(const Spread* s, int32_t a, int32_t b) {
  return rescale((a - s->first_zero) * (b - s->second_zero), s->factor);
}
KERNEL(multiply) { spread(op, multiply_of, in, more, out); }
