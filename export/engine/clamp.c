/* needs clip */
/* A function of one code that only clips. */
typedef struct {
  int32_t count;
  int8_t low, high;
} Clamp;

KERNEL(clamp) {
  const Clamp* c = op;
  if (in != out) memmove(out, in, (size_t)c->count);
  clip(out, c->count, c->low, c->high);
}
