/* needs reference */
/* TRANSPOSE_CONV: what each pixel of the input writes, gathered for each pixel of the output. Codes
 * are taken from zero first, as what is outside adds nothing. */
KERNEL(reference_transposed) {
  const Reference* r = op;
  const Window* w = &r->window;
  for (int y = 0; y < w->out_height; ++y) {
    for (int x = 0; x < w->out_width; ++x) {
      const int8_t* tap = r->weights;
      for (int c = 0; c < r->channels; ++c) {
        uint32_t sum = (uint32_t)r->biases[c];
        for (int i = 0; i < w->height; ++i) {
          for (int j = 0; j < w->width; ++j, tap += w->depth) {
            const int down = y + w->top - i, across = x + w->left - j;
            if (down < 0 || across < 0 || down % w->stride_y || across % w->stride_x) continue;
            const int row = down / w->stride_y, column = across / w->stride_x;
            if (row >= w->in_height || column >= w->in_width) continue;
            for (int k = 0; k < w->depth; ++k) {
              sum += (uint32_t)(tap[k] * (code(w, in, row, column, k) - w->zero));
            }
          }
        }
        *out++ = coded(r, c, sum);
      }
    }
  }
}
