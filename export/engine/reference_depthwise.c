/* needs reference */
KERNEL(reference_depthwise) {
  const Reference* r = op;
  const Window* w = &r->window;
  const int each = r->channels / w->depth;
  for (int y = 0; y < w->out_height; ++y) {
    for (int x = 0; x < w->out_width; ++x) {
      for (int c = 0; c < r->channels; ++c) {
        const int8_t* tap = r->weights + c;
        uint32_t sum = (uint32_t)r->biases[c];
        for (int i = 0; i < w->height; ++i) {
          const int at = y * w->stride_y - w->top + i * w->dilation_y;
          for (int j = 0; j < w->width; ++j, tap += r->channels) {
            const int from = x * w->stride_x - w->left + j * w->dilation_x;
            sum += (uint32_t)(*tap * code(w, in, at, from, c / each));
          }
        }
        *out++ = coded(r, c, sum);
      }
    }
  }
}
