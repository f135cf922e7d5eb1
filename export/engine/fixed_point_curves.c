/* needs fixed_point */
/* exp, 1 / (1 + x) and logarithm of numbers in fixed point, after gemmlowp. */
INLINE int32_t saturated(int64_t value) {
  return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

/* Of x <= 0 in Q5.26, in Q0.31. */
INLINE int32_t exponential(int32_t value) {
  static const int32_t kPowers[] = {1672461947, 1302514674, 790015084, 290630308,
                                    39332535,   720401,     242};
  const int32_t residue = (value & 0xFFFFFF) - (1 << 24);
  const int32_t x = residue * 32 + (1 << 28), x2 = high(x, x);
  const int32_t tail = high(divide(high(x2, x2), 2) + high(x2, x), 715827883) + x2;
  int32_t result = 1895147668 + high(x + divide(tail, 1), 1895147668);
  const int32_t rest = residue - value;
  if (value == 0) return INT32_MAX;
  for (int bit = 0; bit < 7; ++bit) {
    if (rest & (1 << (24 + bit))) result = high(result, kPowers[bit]);
  }
  return result;
}

/* Of x in [0, 1), both in Q0.31. */
INLINE int32_t reciprocal_of_one_plus(int32_t value) {
  const int32_t half = (int32_t)(((int64_t)value + 0x80000000LL) >> 1);
  int32_t x = 1515870810 + high(half, -1010580540);
  for (int i = 0; i < 3; ++i) {
    x += saturated(4 * (int64_t)high(x, (1 << 29) - high(half, x)));
  }
  return saturated(2 * (int64_t)x);
}

INLINE int leading_zeros(uint32_t value) {
  int zeros = 0;
  for (; !(value & 0x80000000U); value <<= 1) ++zeros;
  return zeros;
}
