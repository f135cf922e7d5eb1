/* A function of one code. */
typedef struct {
  int32_t count;
  const int8_t* codes; /* of -128 first */
} Table;

KERNEL(table) {
  const Table* t = op;
  const int8_t* codes = t->codes + 128;
  for (int i = t->count; i > 0; --i) *out++ = codes[*in++];
}
