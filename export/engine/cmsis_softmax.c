/* needs cmsis_nn fixed_point */
typedef struct {
  int32_t rows, count;
  Factor factor;
  int32_t radius; /* of differences from the largest code that count */
} CmsisSoftmax;

KERNEL(cmsis_softmax) {
  const CmsisSoftmax* s = op;
  arm_softmax_s8(in, s->rows, s->count, s->factor.multiplier, s->factor.shift, -s->radius, out);
}
