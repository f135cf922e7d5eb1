/* needs cmsis_pool */
KERNEL void cmsis_largest(const CmsisPool* p, const int8_t* in, int8_t* out, void* work) {
  const cmsis_nn_context context = {work, p->scratch};
  arm_max_pool_s8(&context, &p->params, &p->source, in, &p->filter, &p->output, out);
}
