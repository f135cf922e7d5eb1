/* needs cmsis_pool */
KERNEL(cmsis_largest) {
  const CmsisPool* p = op;
  const cmsis_nn_context context = {more, p->scratch};
  arm_max_pool_s8(&context, &p->params, &p->source, in, &p->filter, &p->output, out);
}
