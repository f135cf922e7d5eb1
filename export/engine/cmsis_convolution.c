/* needs cmsis_nn */
typedef struct {
  cmsis_nn_conv_params params;
  const int32_t *multipliers, *shifts, *biases;
  const int8_t* weights;
  cmsis_nn_dims source, filter, bias, output;
  int32_t scratch;
} CmsisConvolution;

KERNEL(cmsis_convolution) {
  const CmsisConvolution* c = op;
  const cmsis_nn_context context = {more, c->scratch};
  const cmsis_nn_per_channel_quant_params scales = {(int32_t*)c->multipliers, (int32_t*)c->shifts};
  arm_convolve_wrapper_s8(&context, &c->params, &scales, &c->source, in, &c->filter, c->weights,
                          &c->bias, c->biases, &c->output, out);
}
