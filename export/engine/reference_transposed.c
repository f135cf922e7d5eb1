/* needs reference */
/* TRANSPOSE_CONV: what each pixel of the input writes, gathered for each pixel of the output. Of the
 * taps only those that a stride leads to are visited. Codes are taken from zero first, as what is
 * outside adds nothing. */
KERNEL(reference_transposed) {
  const Reference* r = op;
  const Window* w = &r->window;
  for (int y = w->top; y < w->top + w->out_height; ++y) {
    for (int x = w->left; x < w->left + w->out_width; ++x) {
      const int down = y / w->stride_y, first_row = y % w->stride_y;
      const int across = x / w->stride_x, first_column = x % w->stride_x;
      const int8_t* filter = r->weights;
      for (int c = 0; c < r->channels; ++c, filter += w->height * w->width * w->depth) {
        uint32_t sum = (uint32_t)r->biases[c];
        for (int i = first_row, row = down; i < w->height; i += w->stride_y, --row) {
          if ((unsigned)row >= w->in_height) continue;
          for (int j = first_column, column = across; j < w->width; j += w->stride_x, --column) {
            if ((unsigned)column >= w->in_width) continue;
            const int8_t* tap = filter + (i * w->width + j) * w->depth;
            const int8_t* from = in + (row * w->in_width + column) * w->depth;
            for (int k = w->depth; k > 0; --k) sum += (uint32_t)(*tap++ * (*from++ - w->zero));
          }
        }
        *out++ = coded(r, c, sum);
      }
    }
  }
}
