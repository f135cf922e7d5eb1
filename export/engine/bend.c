/* needs spread */
static int32_t bend_of(const Spread* s, int32_t a, int32_t b) {
  a -= s->first_zero;
  const int32_t below = a >> 31;
  const Factor factor = {selected_by(below, s->factor.multiplier, s->first_factor.multiplier),
                         selected_by(below, s->factor.shift, s->first_factor.shift)};
  return rescale(a * selected_by(below, b - s->second_zero, 1), factor);
}
KERNEL(bend) { spread(op, bend_of, in, more, out); }
