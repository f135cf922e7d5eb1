/* needs window clip */
/* One code of a window's, channel by channel, from what of the window lies in the map. */
typedef struct {
  Window window;
  int8_t low, high;
} Pool;

INLINE void pool(const Pool* p, int32_t (*of)(const int8_t*, int, int, int, int), const int8_t* in,
                 int8_t* out) {
  const Window* w = &p->window;
  const int depth = w->depth, pitch = w->in_width * depth;
  int8_t* const start = out;
  for (int y = 0, top = -w->top; y < w->out_height; ++y, top += w->stride_y) {
    const int first = larger(top, 0), rows = smaller(top + w->height, w->in_height) - first;
    for (int x = 0, at = -w->left; x < w->out_width; ++x, at += w->stride_x) {
      const int left = larger(at, 0), columns = smaller(at + w->width, w->in_width) - left;
      const int8_t* from = in + first * pitch + left * depth;
      for (int c = depth; c > 0; --c) *out++ = (int8_t)of(from++, rows, columns, pitch, depth);
    }
  }
  clip(start, (int)(out - start), p->low, p->high);
}
