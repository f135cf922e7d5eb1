/* needs cmsis_nn fixed_point */
typedef struct {
  int32_t count, first_zero, second_zero, zero, low, high;
  int32_t bits; /* by which operands are raised */
  Factor first_factor, second_factor, factor;
} CmsisPair;
