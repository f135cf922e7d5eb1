/* needs fixed_point_curves */
/* What softmax and its logarithm share: exponentials of differences to the largest code. */
typedef struct {
  int32_t rows, count;
  Factor factor; /* to Q5.26 */
  int32_t radius;
} Softmax;

/* A difference in Q5.26, 0 where its exponential is none. */
INLINE int32_t raised(const Softmax* s, int difference) {
  const int32_t mask = ~((difference + s->radius) >> 31);
  return high(left(difference & mask, s->factor.shift), s->factor.multiplier);
}

SHARED int32_t term(const Softmax* s, int difference) {
  return exponential(raised(s, difference)) & ~((difference + s->radius) >> 31);
}

SHARED uint32_t total_of(const Softmax* s, const int8_t* in, int most) {
  uint32_t total = 0;
  for (int i = 0; i < s->count; ++i) total += (uint32_t)divide(term(s, in[i] - most), 12);
  return total;
}

SHARED int top(const int8_t* in, int count) {
  int most = -128;
  for (int i = 0; i < count; ++i) most = larger(in[i], most);
  return most;
}
