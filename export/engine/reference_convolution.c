/* needs reference */
KERNEL(reference_convolution) {
  const Reference* r = op;
  const Window* w = &r->window;
  const int depth = w->depth / r->groups, each = r->channels / r->groups;
  for (int y = 0; y < w->out_height; ++y) {
    for (int x = 0; x < w->out_width; ++x) {
      const int8_t* tap = r->weights;
      for (int c = 0; c < r->channels; ++c) {
        uint32_t sum = (uint32_t)r->biases[c];
        for (int i = 0; i < w->height; ++i) {
          const int at = y * w->stride_y - w->top + i * w->dilation_y;
          for (int j = 0; j < w->width; ++j) {
            const int from = x * w->stride_x - w->left + j * w->dilation_x;
            for (int k = 0; k < depth; ++k) {
              sum += (uint32_t)(*tap++ * code(w, in, at, from, c / each * depth + k));
            }
          }
        }
        *out++ = coded(r, c, sum);
      }
    }
  }
}
