/* needs plane */
#if !DSP
INLINE int8_t code_of(const Channel* c, int32_t doubled) {
  const int32_t value = high(doubled >> 1, c->multiplier);
  return to_code((value + (value >> 31) + c->rounding) >> c->shift);
}
#endif
