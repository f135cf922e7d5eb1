enum { STAGES = sizeof(kStages) / sizeof(kStages[0]), BANDS = sizeof(kBands) / sizeof(kBands[0]) };

/* First row that row y of a stage is made of, or with its reach the one behind the last. */
SHARED int edge_of(const Stage* s, int y, int reach) {
  return smaller(larger(y * s->stride - s->top + reach, 0), s->in_height);
}

SHARED int8_t* row_of(const Band* b, int y) { return b->at.rows + (y - b->first) * b->bytes; }

static void stream(int8_t* arena, int8_t* const* outside) {
  Band bands[BANDS];
  memcpy(bands, kBands, sizeof(bands));
  for (Band* b = bands; b < bands + BANDS; ++b) b->at.rows = placed(b->at.place, arena, outside);
  for (const Stage* s = kStages + STAGES; s > kStages;) {
    const Band *in = &bands[(--s)->in], *more = &bands[s->more];
    Band* out = &bands[s->out];
    const int y = out->end, first = edge_of(s, y, 0), last = edge_of(s, y, s->reach);
    if (y == s->height || in->end < last || more->end < last) continue;
    if (y - out->first == out->most) { /* full: rows that no stage reads any more go */
      int keep = y;
      for (const Stage* r = kStages; r < kStages + STAGES; ++r) {
        if (r->in == s->out || r->more == s->out) keep = smaller(keep, edge_of(r, bands[r->out].end, 0));
      }
      memmove(out->at.rows, row_of(out, keep), (size_t)((y - keep) * out->bytes));
      out->first = (int16_t)keep;
    }
    Op op;
    memcpy(&op, s->op, s->bytes);
    if (s->is_window) {
      op.window.top = (int16_t)(first + s->top - y * s->stride);
      op.window.in_height = (uint16_t)(last - first);
      op.window.out_height = 1;
    } else {
      op.count /= s->height;
    }
    s->kernel(&op, row_of(in, first), row_of(out, y), row_of(more, y));
    ++out->end;
    s = kStages + STAGES;
  }
}
