/* needs cmsis_pair */
KERNEL(cmsis_multiply) {
  const CmsisPair* p = op;
  arm_elementwise_mul_s8(in, more, -p->first_zero, -p->second_zero, out, p->zero,
                         p->factor.multiplier, p->factor.shift, p->low, p->high, p->count);
}
