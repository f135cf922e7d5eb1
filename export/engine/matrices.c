/* needs fixed_point */
/* BATCH_MATMUL: matrices of the last two dimensions, spread over two before them. */
typedef struct {
  int32_t outer[2], left[4], right[4]; /* steps: of outer dimensions, then of rows and columns */
  int32_t rows, columns, depth;
  int32_t left_zero, right_zero, zero;
  Factor factor;
} Matrices;

KERNEL(matrices) {
  const Matrices* m = op;
  const int8_t *first = in, *second = more;
  for (int i = 0; i < m->outer[0] * m->outer[1]; ++i) {
    const int a = i / m->outer[1], b = i % m->outer[1];
    const int8_t* l = first + a * m->left[0] + b * m->left[1];
    const int8_t* r = second + a * m->right[0] + b * m->right[1];
    for (int y = 0; y < m->rows; ++y) {
      for (int x = 0; x < m->columns; ++x) {
        uint32_t sum = 0;
        for (int k = 0; k < m->depth; ++k) {
          sum += (uint32_t)((l[y * m->left[2] + k * m->left[3]] - m->left_zero) *
                            (r[k * m->right[2] + x * m->right[3]] - m->right_zero));
        }
        *out++ = to_code(rescale((int32_t)sum, m->factor) + m->zero);
      }
    }
  }
}
