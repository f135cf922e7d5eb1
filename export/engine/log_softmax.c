/* needs exponentials */
typedef struct {
  Softmax softmax;
  Factor back; /* from Q5.26 to codes */
} LogSoftmax;

/* Natural logarithm, in Q5.26, of numbers of at least 1 in Q12.19. */
static int32_t logarithm(int32_t value) {
  const int zeros = leading_zeros((uint32_t)value);
  const int32_t quarter = 1 << 23, root = 1518500250, fourth = 1805811301;
  int32_t rest = saturated(2 * (int64_t)high((int32_t)((uint32_t)value << (zeros - 1)), root));
  int32_t power = (12 - zeros) * (1 << 25) + quarter;
  const int headroom = leading_zeros((uint32_t)high(value, root)) - 1;
  const int32_t other = saturated((int64_t)value << headroom);
  const int32_t other_power = (12 - headroom) * (1 << 25) - quarter;
  rest = smaller(rest, other);
  power = larger(power, other_power);
  const int32_t mean = (int32_t)(((int64_t)rest + fourth + 1) >> 1);
  const int32_t q = 2 * (rest - fourth), square = high(q, q);
  const int32_t numerator = high(q, rest) + high(high(q, square), 117049297);
  const int32_t denominator =
      high(mean, 1057819769 + q + high(square, 127690142)) + high(q, 638450708);
  const int32_t fraction = high(divide(numerator, 6), reciprocal_of_one_plus(denominator));
  return saturated(2 * ((int64_t)high(power, 1488522236) + fraction));
}

KERNEL(log_softmax) {
  const LogSoftmax* l = op;
  const Softmax* s = &l->softmax;
  for (int row = 0; row < s->rows; ++row, in += s->count, out += s->count) {
    const int most = top(in, s->count);
    const int32_t log = logarithm((int32_t)total_of(s, in, most));
    const int32_t lowest = larger(rescale((int32_t)(log - 2147483648LL), l->back), -s->radius - 1);
    for (int i = 0; i < s->count; ++i) {
      const int difference = in[i] - most;
      const int64_t rest = (int64_t)raised(s, difference) - log;
      const int32_t steps = (int32_t)((rest + (1 << 21) + (int32_t)(rest >> 63)) >> 22);
      out[i] = (int8_t)selected_by((lowest - difference) >> 31, to_code(steps + 127), -128);
    }
  }
}
