/* needs cmsis_pair */
KERNEL void cmsis_multiply(const CmsisPair* p, const int8_t* first, const int8_t* second, int8_t* out) {
  arm_elementwise_mul_s8(first, second, -p->first_zero, -p->second_zero, out, p->zero,
                         p->factor.multiplier, p->factor.shift, p->low, p->high, p->count);
}
