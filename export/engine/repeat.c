/* A kernel of single maps on each of several. */
typedef struct {
  Kernel* kernel;
  const void* op;
  int32_t maps, read, written; /* and bytes of each map */
} Repeat;

KERNEL(repeat) {
  const Repeat* r = op;
  for (int n = 0; n < r->maps; ++n) r->kernel(r->op, in + n * r->read, out + n * r->written, more);
}
