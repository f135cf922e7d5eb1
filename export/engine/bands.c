/* needs window */
/* The first operators row by row: each writes the next row of its map into a band as soon as the rows
 * it is made of are there, and the last that can goes first. A full band loses the rows that nobody
 * reads any more, and moves the rest to its beginning. */
typedef struct {
  int8_t* rows;
  int32_t bytes;             /* of a row */
  int16_t first, end, most;  /* rows: the first that is there, the next, how many have room */
} Band;
typedef struct Stage Stage;
struct Stage {
  void (*row)(const Stage*, const Band* in, const Band* second, int y, int8_t* out, void* work);
  const void* op;
  uint8_t in, second, out;        /* bands */
  int16_t in_height, height;      /* rows that are read, and written */
  int16_t stride, top, reach;     /* row y is made of y * stride - top and as many as `reach` */
};

INLINE int least(int a, int b) { return a < b ? a : b; }

/* First row that a stage reads for its next one. */
INLINE int wanted(const Stage* s, const Band* bands) {
  const int y = bands[s->out].end, first = y * s->stride - s->top;
  return y == s->height ? s->in_height : first < 0 ? 0 : least(first, s->in_height);
}

static void forget(const Stage* stages, int count, Band* bands, int which) {
  Band* band = &bands[which];
  int keep = band->end;
  for (int i = 0; i < count; ++i) {
    const Stage* s = &stages[i];
    if (s->in == which || s->second == which) keep = least(keep, wanted(s, bands));
  }
  memmove(band->rows, band->rows + (keep - band->first) * band->bytes,
          (size_t)((band->end - keep) * band->bytes));
  band->first = (int16_t)keep;
}

static void stream(const Stage* stages, int count, Band* bands, void* work) {
  for (int i = count - 1; i >= 0;) {
    const Stage* s = &stages[i];
    Band *in = &bands[s->in], *second = &bands[s->second], *out = &bands[s->out];
    const int y = out->end, last = least(y * s->stride - s->top + s->reach, s->in_height);
    if (y == s->height || in->end < last || second->end < last) {
      --i;
      continue;
    }
    if (y - out->first == out->most) forget(stages, count, bands, s->out);
    s->row(s, in, second, y, out->rows + (y - out->first) * out->bytes, work);
    ++out->end;
    i = count - 1;
  }
}

INLINE const int8_t* row_of(const Band* band, int y) {
  return band->rows + (y - band->first) * band->bytes;
}

/* Narrows a window to the rows that one row of the output is made of, and returns the first. */
INLINE const int8_t* narrowed(Window* w, const Stage* s, const Band* in, int y) {
  const int top = y * s->stride - s->top, first = top < 0 ? 0 : least(top, s->in_height);
  w->top = (int16_t)(first - top);
  w->in_height = (uint16_t)(least(top + s->reach, s->in_height) - first);
  w->out_height = 1;
  return row_of(in, first);
}
