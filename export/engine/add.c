/* needs fixed_point clip */
/* Sums of two maps of one shape. The coarser scale's codes are moved by bits alone. */
typedef struct {
  int32_t count;
  int32_t multiplier, shift, rounding;               /* of the finer codes */
  int32_t out_multiplier, out_shift, out_rounding;   /* of the sum, with its zero point */
  int8_t coarse_zero, fine_zero, low, high;
} Add;

#if DSP
#define HIGH(doubled, multiplier) \
  __asm("smmulr %0, %0, %1" : "+r"(doubled) : "r"(multiplier))
#else
#define HIGH(doubled, multiplier) doubled = high(doubled / 2, multiplier)
#endif

KERNEL(add) {
  const Add* a = op;
  const int8_t *coarse = in, *fine = more;
  int8_t* const start = out;
  const int32_t multiplier = a->multiplier, shift = a->shift, rounding = a->rounding;
  const int32_t out_multiplier = a->out_multiplier, out_shift = a->out_shift;
  const int32_t out_rounding = a->out_rounding;
  const int coarse_zero = a->coarse_zero, fine_zero = a->fine_zero;
  for (int i = a->count; i > 0; --i) {
    int32_t sum = (*fine++ - fine_zero) * (1 << 21);
    HIGH(sum, multiplier);
    sum = (sum + (sum >> 31) + rounding) >> shift;
    sum = (sum + (*coarse++ - coarse_zero) * (1 << 19)) * 2;
    HIGH(sum, out_multiplier);
    *out++ = to_code((sum + (sum >> 31) + out_rounding) >> out_shift);
  }
  clip(start, a->count, a->low, a->high);
}
#undef HIGH
