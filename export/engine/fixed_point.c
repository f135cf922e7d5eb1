/* Fixed point as TensorFlow Lite Micro rounds: the high half of a doubled product, ties upwards, then
 * a division by a power of two, ties away from zero. */
typedef struct {
  int32_t multiplier;
  int32_t shift; /* to the left */
} Factor;

INLINE int32_t high(int32_t value, int32_t multiplier) {
  return (int32_t)(((int64_t)value * multiplier + (1 << 30)) >> 31);
}

INLINE int32_t divide(int32_t value, int power) {
  if (power <= 0) return value;
  if (power > 31) return 0;
  const int32_t mask = (int32_t)((1U << power) - 1), rest = value & mask;
  return (value >> power) + (rest > (mask >> 1) + (value < 0));
}

INLINE int32_t left(int32_t value, int bits) { return (int32_t)((uint32_t)value << bits); }

INLINE int32_t rescale(int32_t value, Factor factor) {
  const int shift = factor.shift;
  return divide(high(shift > 0 ? left(value, shift) : value, factor.multiplier), -shift);
}

INLINE int8_t clamped(int32_t value, int low, int high) {
  return (int8_t)(value < low ? low : value > high ? high : value);
}
