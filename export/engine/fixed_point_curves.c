/* needs fixed_point */
/* exp and 1 / (1 + x) of numbers in fixed point, after gemmlowp. */

/* Of x <= 0 in Q5.26, in Q0.31. */
INLINE int32_t exponential(int32_t value) {
  static const int32_t kPowers[] = {1672461947, 1302514674, 790015084, 290630308,
                                    39332535,   720401,     242};
  const int32_t residue = (value & 0xFFFFFF) - (1 << 24);
  const int32_t x = residue * 32 + (1 << 28), x2 = high(x, x);
  const int32_t tail = high(divide(high(x2, x2), 2) + high(x2, x), 715827883) + x2;
  int32_t result = 1895147668 + high(x + divide(tail, 1), 1895147668);
  const int32_t rest = residue - value;
  for (int bit = 0; bit < 7; ++bit) {
    result = selected_by(-(rest >> (24 + bit) & 1), high(result, kPowers[bit]), result);
  }
  return selected_by(value >> 31, result, INT32_MAX);
}

/* Of x in [0, 1), both in Q0.31. */
SHARED int32_t reciprocal_of_one_plus(int32_t value) {
  const int32_t half = (int32_t)(((int64_t)value + 0x80000000LL) >> 1);
  int32_t x = 1515870810 + high(half, -1010580540);
  for (int i = 0; i < 3; ++i) {
    x += saturated(4 * (int64_t)high(x, (1 << 29) - high(half, x)));
  }
  return saturated(2 * (int64_t)x);
}
