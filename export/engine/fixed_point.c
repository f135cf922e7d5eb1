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

/* Of neither the largest nor the least number of 32 bits, which no product is. */
INLINE int32_t divide(int32_t value, int power) {
  if (power <= 0) return value;
  return power > 31 ? 0 : (((value + (value >> 31)) >> (power - 1)) + 1) >> 1;
}

INLINE int32_t left(int32_t value, int bits) { return (int32_t)((uint32_t)value << bits); }

INLINE int32_t rescale(int32_t value, Factor factor) {
  const int shift = factor.shift;
  return divide(high(shift > 0 ? left(value, shift) : value, factor.multiplier), -shift);
}

INLINE int8_t clamped(int32_t value, int low, int high) {
  return (int8_t)(value < low ? low : value > high ? high : value);
}
