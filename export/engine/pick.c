/* Copies pieces of `inner` bytes by their rows and columns. */
typedef struct {
  const uint16_t *rows, *columns;
  int32_t outer, many_rows, many_columns;
  int32_t in_rows, in_columns, inner;
} Pick;

KERNEL(pick) {
  const Pick* p = op;
  for (int n = 0; n < p->outer; ++n, in += p->in_rows * p->in_columns * p->inner) {
    for (int y = 0; y < p->many_rows; ++y) {
      const int8_t* row = in + p->rows[y] * p->in_columns * p->inner;
      for (int x = 0; x < p->many_columns; ++x, out += p->inner) {
        memcpy(out, row + p->columns[x] * p->inner, (size_t)p->inner);
      }
    }
  }
}
