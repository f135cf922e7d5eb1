/* needs fixed_point */
/* Rows over the root of their sum of squares. */
typedef struct {
  int32_t rows, count;
  int32_t zero;
} Normalize;

static Factor inverse_root(int32_t value) {
  Factor found = {INT32_MAX, 0};
  if (value <= 1) return found;
  int shift = 11;
  const int is_large = value >> 29 != 0;
  value >>= 2 * is_large, shift += is_large;
  const int pairs = (leading_zeros((uint32_t)value) - 1) / 2 - 1;
  shift -= pairs;
  const int32_t half = divide((int32_t)(((int64_t)value << (2 * pairs)) >> 1), 1);
  int32_t x = 1 << 28;
  for (int i = 0; i < 5; ++i) {
    const int32_t cube = saturated((int64_t)high(high(x, x), x) << 6);
    x = saturated(8 * ((int64_t)high(x, (1 << 28) + (1 << 27)) - high(half, cube)));
  }
  found.multiplier = high(x, 1518500250);
  found.multiplier = left(found.multiplier, larger(-shift, 0));
  found.shift = smaller(-shift, 0);
  return found;
}

KERNEL(normalize) {
  const Normalize* n = op;
  for (int row = 0; row < n->rows; ++row, in += n->count, out += n->count) {
    int32_t squares = 0;
    for (int i = 0; i < n->count; ++i) squares += (in[i] - n->zero) * (in[i] - n->zero);
    Factor factor = inverse_root(squares);
    factor.shift += 7;
    for (int i = 0; i < n->count; ++i) out[i] = to_code(rescale(in[i] - n->zero, factor));
  }
}
