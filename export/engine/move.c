/* Copies along up to six dimensions, in steps of each operand's own, over what may be filled first. */
typedef struct {
  int32_t sizes[6], from[6], to[6];
  int32_t rank;
  int32_t first, place; /* where reading and writing begins */
  int32_t filled;       /* bytes of the output to be filled for each of the first dimension */
  int8_t fill;
} Move;

KERNEL(move) {
  const Move* m = op;
  int32_t at[6] = {0};
  const int last = m->rank - 1;
  memset(out, m->fill, (size_t)(m->filled * m->sizes[0]));
  in += m->first, out += m->place;
  for (;;) {
    const int32_t many = m->sizes[last], from = m->from[last], to = m->to[last];
    if (from == 1 && to == 1) {
      memcpy(out, in, (size_t)many);
    } else {
      for (int32_t i = 0; i < many; ++i) out[i * to] = in[i * from];
    }
    int axis = last - 1;
    for (; axis >= 0; --axis) {
      in += m->from[axis], out += m->to[axis];
      if (++at[axis] < m->sizes[axis]) break;
      in -= m->from[axis] * at[axis], out -= m->to[axis] * at[axis];
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}
