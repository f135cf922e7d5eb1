/* A place is a number of what lies outside of the arena, or behind these bytes from its start. */
typedef struct {
  Kernel* kernel;
  const void* op;
  Place in, out, more;
} Call;

SHARED int8_t* placed(Place place, int8_t* arena, int8_t* const* outside) {
  return place < OUTSIDE ? outside[place] : arena + (place - OUTSIDE);
}

UNUSED static void run(const Call* call, int count, int8_t* arena, int8_t* const* outside) {
  for (; count > 0; --count, ++call) {
    call->kernel(call->op, placed(call->in, arena, outside), placed(call->out, arena, outside),
                 placed(call->more, arena, outside));
  }
}
