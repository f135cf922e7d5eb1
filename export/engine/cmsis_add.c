/* needs cmsis_pair */
KERNEL void cmsis_add(const CmsisPair* p, const int8_t* first, const int8_t* second, int8_t* out) {
  arm_elementwise_add_s8(first, second, -p->first_zero, p->first_factor.multiplier,
                         p->first_factor.shift, -p->second_zero, p->second_factor.multiplier,
                         p->second_factor.shift, p->bits, out, p->zero, p->factor.multiplier,
                         p->factor.shift, p->low, p->high, p->count);
}
