/* needs fixed_point_curves */
/* What softmax and its logarithm share: exponentials of differences to the largest code. */
typedef struct {
  int32_t rows, count;
  Factor factor; /* to Q5.26 */
  int32_t radius;
} Softmax;

static int32_t term(const Softmax* s, int difference) {
  return exponential(high(left(difference, s->factor.shift), s->factor.multiplier));
}

static int top(const int8_t* in, int count) {
  int most = -128;
  for (int i = 0; i < count; ++i) most = in[i] > most ? in[i] : most;
  return most;
}
