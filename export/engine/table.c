/* A function of one code. */
typedef struct {
  const int8_t* codes; /* of -128 first */
  int32_t count;
} Table;

KERNEL void table(const Table* t, const int8_t* in, int8_t* out) {
  const int8_t* codes = t->codes + 128;
  for (int i = t->count; i > 0; --i) *out++ = codes[*in++];
}
