/* needs exponentials */
KERNEL(softmax) {
  const Softmax* s = op;
  for (int row = 0; row < s->rows; ++row, in += s->count, out += s->count) {
    const int most = top(in, s->count);
    const uint32_t total = total_of(s, in, most);
    const int headroom = leading_zeros(total), power = 12 - headroom + 23;
    int32_t reciprocal = reciprocal_of_one_plus((int32_t)((total << headroom) - 0x80000000U));
    if (power > 31) reciprocal = 0; /* all shares are less than a step */
    for (int i = 0; i < s->count; ++i) {
      const int32_t share = high(term(s, in[i] - most), reciprocal);
      out[i] = to_code(divide(share, smaller(power, 31)) - 128);
    }
  }
}
