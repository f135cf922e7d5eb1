/* needs cmsis_nn */
typedef struct {
  cmsis_nn_pool_params params;
  cmsis_nn_dims source, filter, output;
  int32_t scratch;
} CmsisPool;
