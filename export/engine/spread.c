/* needs fixed_point */
/* Operators on pairs of elements, each of two operands spread over the output's dimensions. */
typedef struct {
  int32_t rank;
  int32_t sizes[6], first[6], second[6]; /* steps of the operands */
  int32_t first_zero, second_zero, zero, low, high;
  int32_t bits; /* by which operands are raised */
  Factor first_factor, second_factor, factor;
} Spread;

SHARED void spread(const Spread* s, int32_t (*of)(const Spread*, int32_t, int32_t), const int8_t* first,
                   const int8_t* second, int8_t* out) {
  int32_t at[6] = {0};
  for (;;) {
    *out++ = clamped(of(s, *first, *second) + s->zero, s->low, s->high);
    int axis = s->rank - 1;
    for (; axis >= 0; --axis) {
      first += s->first[axis], second += s->second[axis];
      if (++at[axis] < s->sizes[axis]) break;
      first -= s->first[axis] * at[axis], second -= s->second[axis] * at[axis];
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/* At the operands' common scale. */
INLINE int32_t first_of(const Spread* s, int32_t code) {
  return rescale((code - s->first_zero) * (1 << s->bits), s->first_factor);
}
INLINE int32_t second_of(const Spread* s, int32_t code) {
  return rescale((code - s->second_zero) * (1 << s->bits), s->second_factor);
}
