/* needs exponentials */
KERNEL(softmax) {
  const Softmax* s = op;
  for (int row = 0; row < s->rows; ++row, in += s->count, out += s->count) {
    const int most = top(in, s->count);
    uint32_t total = 0;
    for (int i = 0; i < s->count; ++i) {
      if (in[i] - most >= -s->radius) total += (uint32_t)divide(term(s, in[i] - most), 12);
    }
    const int headroom = leading_zeros(total);
    const int32_t reciprocal = reciprocal_of_one_plus((int32_t)((total << headroom) - 0x80000000U));
    for (int i = 0; i < s->count; ++i) {
      const int inside = in[i] - most >= -s->radius;
      const int32_t share = inside ? high(term(s, in[i] - most), reciprocal) : 0;
      out[i] = clamped(divide(share, 12 - headroom + 23) - 128, -128, 127);
    }
  }
}
