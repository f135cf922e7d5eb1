/* needs clip */
/* A function of one code that only clips. */
typedef struct {
  int32_t count;
  int8_t low, high;
} Clamp;

KERNEL void clamp(const Clamp* c, const int8_t* in, int8_t* out) {
  if (in != out) memmove(out, in, (size_t)c->count);
  clip(out, c->count, c->low, c->high);
}
