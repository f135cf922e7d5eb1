/* RESIZE_BILINEAR: four pixels, weighted in 2^-20; ties away from code 0. */
typedef struct {
  uint16_t first, second;
  int32_t share; /* of the second, in 1/1024 */
} Between;
typedef struct {
  const Between *rows, *columns;
  int32_t maps, height, width, in_height, in_width, depth;
} Interpolate;

KERNEL(interpolate) {
  const Interpolate* p = op;
  for (int n = 0; n < p->maps; ++n, in += p->in_height * p->in_width * p->depth) {
    for (int y = 0; y < p->height; ++y) {
      const Between* row = &p->rows[y];
      const int8_t* top = in + row->first * p->in_width * p->depth;
      const int8_t* bottom = in + row->second * p->in_width * p->depth;
      for (int x = 0; x < p->width; ++x) {
        const Between* column = &p->columns[x];
        const int left = column->first * p->depth, right = column->second * p->depth;
        for (int c = 0; c < p->depth; ++c) {
          const int32_t above = top[left + c] * (1024 - column->share) + top[right + c] * column->share;
          const int32_t below =
              bottom[left + c] * (1024 - column->share) + bottom[right + c] * column->share;
          const int32_t sum = above * (1024 - row->share) + below * row->share;
          *out++ = (int8_t)((sum + (1 << 19) + (sum >> 31)) >> 20);
        }
      }
    }
  }
}
