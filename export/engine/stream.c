enum { STAGES = sizeof(kStages) / sizeof(kStages[0]), BANDS = sizeof(kBands) / sizeof(kBands[0]) };
typedef struct {
  int8_t* rows;
  int16_t first, end; /* the first row that is there, and the next */
} Rows;

/* First row that row y of a stage is made of, or with its reach the one behind the last. */
SHARED int edge_of(const Stage* s, int y, int reach) {
  return smaller(larger(y * s->stride - s->top + reach, 0), s->in_height);
}

SHARED int8_t* row_of(const Rows* rows, int band, int y) {
  return rows[band].rows + (y - rows[band].first) * kBands[band].bytes;
}

SHARED void forget(Rows* rows, int band) {
  Rows* r = &rows[band];
  int keep = r->end;
  for (const Stage* s = kStages; s < kStages + STAGES; ++s) {
    const int y = rows[s->out].end;
    if (s->in != band && s->more != band) continue;
    keep = smaller(keep, y == s->height ? s->in_height : edge_of(s, y, 0));
  }
  memmove(r->rows, row_of(rows, band, keep), (size_t)((r->end - keep) * kBands[band].bytes));
  r->first = (int16_t)keep;
}

SHARED void write_row(const Stage* s, const Rows* rows, int y) {
  const int first = edge_of(s, y, 0);
  Op op;
  memcpy(&op, s->op, s->bytes);
  if (s->is_window) {
    op.window.top = (int16_t)(first + s->top - y * s->stride);
    op.window.in_height = (uint16_t)(edge_of(s, y, s->reach) - first);
    op.window.out_height = 1;
  } else {
    op.count /= s->height;
  }
  s->kernel(&op, row_of(rows, s->in, first), row_of(rows, s->out, y), row_of(rows, s->more, y));
}

static void stream(int8_t* arena, int8_t* const* outside) {
  Rows rows[BANDS];
  for (int i = 0; i < BANDS; ++i) {
    rows[i].rows = placed(kBands[i].rows, arena, outside);
    rows[i].first = 0, rows[i].end = kBands[i].end;
  }
  for (const Stage* s = kStages + STAGES; s > kStages;) {
    const int y = rows[(--s)->out].end, last = edge_of(s, y, s->reach);
    if (y == s->height || rows[s->in].end < last || rows[s->more].end < last) continue;
    if (y - rows[s->out].first == kBands[s->out].most) forget(rows, s->out);
    write_row(s, rows, y);
    ++rows[s->out].end;
    s = kStages + STAGES;
  }
}
