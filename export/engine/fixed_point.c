/* Fixed point as TensorFlow Lite Micro rounds: the high half of a doubled product, ties upwards, then
 * a division by a power of two, ties away from zero. */
typedef struct {
  int32_t multiplier;
  int32_t shift; /* to the left */
} Factor;

#if HALVES
SHARED int32_t high(int32_t value, int32_t multiplier) {
  const int32_t up = value >> 16, other_up = multiplier >> 16;
  const uint32_t low = value & 0xFFFF, other_low = multiplier & 0xFFFF;
  const int32_t middle = up * (int32_t)other_low + (int32_t)(low * other_low >> 16);
  const int32_t rest = (int32_t)low * other_up + (middle & 0xFFFF);
  const uint32_t most = (uint32_t)(up * other_up) + (uint32_t)(middle >> 16);
  return (int32_t)(2 * most + (uint32_t)(((rest >> 14) + 1) >> 1));
}
#else
INLINE int32_t high(int32_t value, int32_t multiplier) {
  return (int32_t)(((int64_t)value * multiplier + (1 << 30)) >> 31);
}
#endif

/* By 2 to the power of 1 to 31; not of the least number of 32 bits, which no product is. */
INLINE int32_t divide(int32_t value, int power) {
  return (((value + (value >> 31)) >> (power - 1)) + 1) >> 1;
}

INLINE int32_t left(int32_t value, int bits) { return (int32_t)((uint32_t)value << bits); }

INLINE int32_t rescale(int32_t value, Factor factor) {
  const int up = larger(factor.shift, 0), down = up - factor.shift;
  const int32_t product = high(left(value, up), factor.multiplier);
  const int32_t rest = (int32_t)((1U << down) - 1), most = (rest >> 1) - (product >> 31);
  return (product >> down) + ((product & rest) > most);
}

/* Kernels take the same instructions for all values: they select by masks of all bits or none. */
INLINE int32_t selected_by(int32_t mask, int32_t value, int32_t other) {
  return (value & mask) | (other & ~mask);
}

INLINE int32_t saturated(int64_t value) {
  const int32_t low = (int32_t)value, up = (int32_t)(value >> 32);
  const uint32_t lost = (uint32_t)(up ^ (low >> 31));
  return selected_by((int32_t)(lost | (0U - lost)) >> 31, (up >> 31) ^ INT32_MAX, low);
}

/* Of a number that is not 0. */
INLINE int leading_zeros(uint32_t value) {
#if defined(__ARM_FEATURE_CLZ)
  return __builtin_clz(value);
#else
  int zeros = 0;
  for (int step = 16; step > 0; step >>= 1) {
    const int taken = step & -(value >> (32 - step) == 0);
    value <<= taken;
    zeros += taken;
  }
  return zeros;
#endif
}

INLINE int8_t clamped(int32_t value, int low, int high) {
  return (int8_t)smaller(larger(value, low), high);
}

INLINE int8_t to_code(int32_t value) {
#if DSP
  __asm("ssat %0, #8, %0" : "+r"(value));
  return (int8_t)value;
#else
  return clamped(value, -128, 127);
#endif
}
