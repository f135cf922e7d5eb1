/* needs cmsis_pool */
KERNEL(cmsis_average) {
  const CmsisPool* p = op;
  const cmsis_nn_context context = {more, p->scratch};
  arm_avgpool_s8(&context, &p->params, &p->source, in, &p->filter, &p->output, out);
}
