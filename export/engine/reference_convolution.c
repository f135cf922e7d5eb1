/* needs reference */
KERNEL(reference_convolution) {
  const Reference* r = op;
  const Window* w = &r->window;
  const int depth = w->depth / r->groups, each = r->channels / r->groups;
  for (int y = 0; y < w->out_height; ++y) {
    for (int x = 0; x < w->out_width; ++x) {
      const int8_t* tap = r->weights;
      for (int c = 0; c < r->channels; ++c) {
        const int8_t* group = in + c / each * depth;
        uint32_t sum = (uint32_t)r->biases[c];
        for (int i = 0; i < w->height; ++i) {
          const int at = y * w->stride_y - w->top + i * w->dilation_y;
          for (int j = 0; j < w->width; ++j) {
            const int from = x * w->stride_x - w->left + j * w->dilation_x;
            if (((unsigned)at < w->in_height) & ((unsigned)from < w->in_width)) {
              const int8_t* source = group + (at * w->in_width + from) * w->depth;
              for (int k = depth; k > 0; --k) sum += (uint32_t)(*tap++ * *source++);
            } else {
              for (int k = depth; k > 0; --k) sum += (uint32_t)(*tap++ * w->zero);
            }
          }
        }
        *out++ = coded(r, c, sum);
      }
    }
  }
}
