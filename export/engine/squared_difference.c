/* needs spread */
static int32_t squared_difference_of(const Spread* s, int32_t a, int32_t b) {
  const int32_t difference = first_of(s, a) - second_of(s, b);
  return rescale((int32_t)((uint32_t)difference * (uint32_t)difference), s->factor);
}
KERNEL(squared_difference) { spread(op, squared_difference_of, in, more, out); }
