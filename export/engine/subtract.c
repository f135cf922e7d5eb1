/* needs spread */
static int32_t subtract_of(const Spread* s, int32_t a, int32_t b) {
  return rescale(first_of(s, a) - second_of(s, b), s->factor);
}
KERNEL(subtract) { spread(op, subtract_of, in, more, out); }
