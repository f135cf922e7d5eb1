/* needs fixed_point */
/* Reductions over dimensions, which are listed behind those that stay. */
typedef struct {
  int32_t kept, reduced; /* how many dimensions */
  int32_t sizes[6], steps[6];
  int32_t offset; /* of a sum */
  Factor factor;
  int32_t zero;
} Reduce;

SHARED int next(const Reduce* r, int32_t* at, int first, int end, const int8_t** in) {
  for (int axis = end - 1; axis >= first; --axis) {
    *in += r->steps[axis];
    if (++at[axis] < r->sizes[axis]) return 1;
    *in -= r->steps[axis] * at[axis];
    at[axis] = 0;
  }
  return 0;
}

INLINE void reduce(const Reduce* r, const int8_t* in, int8_t* out, int is_sum) {
  int32_t at[6] = {0};
  const int all = r->kept + r->reduced, last = all - 1;
  do {
    const int8_t* from = in;
    uint32_t sum = (uint32_t)r->offset;
    int32_t most = -128;
    do {
      const int8_t* each = from;
      for (int i = r->sizes[last]; i > 0; --i, each += r->steps[last]) {
        const int32_t code = *each;
        if (is_sum) sum += (uint32_t)code;
        most = larger(code, most);
      }
    } while (next(r, at, r->kept, last, &from));
    *out++ = is_sum ? to_code(rescale((int32_t)sum, r->factor) + r->zero) : (int8_t)most;
  } while (next(r, at, 0, r->kept, &in));
}
