/* needs cmsis_pair */
KERNEL(cmsis_add) {
  const CmsisPair* p = op;
  arm_elementwise_add_s8(in, more, -p->first_zero, p->first_factor.multiplier,
                         p->first_factor.shift, -p->second_zero, p->second_factor.multiplier,
                         p->second_factor.shift, p->bits, out, p->zero, p->factor.multiplier,
                         p->factor.shift, p->low, p->high, p->count);
}
