/* needs spread */
static int32_t bend_of(const Spread* s, int32_t a, int32_t b) {
  a -= s->first_zero;
  return a >= 0 ? rescale(a, s->first_factor) : rescale(a * (b - s->second_zero), s->factor);
}
KERNEL(bend) { spread(op, bend_of, in, more, out); }
