/* needs calls window */
/* The first operators row by row: each writes the next row of its map into a band as soon as the rows
 * it is made of are there, and the last that can goes first. A full band loses the rows that nobody
 * reads any more, and moves the rest to its beginning. */
typedef struct {
  union {
    Place place;
    int8_t* rows;
  } at;
  int32_t bytes;            /* of a row */
  int16_t first, end, most; /* rows: the first that is there, the next, how many have room */
} Band;
typedef struct {
  Kernel* kernel;
  const void* op;
  uint16_t bytes;             /* of the op, which begins with a window or with a count of all rows */
  uint8_t is_window;
  uint8_t in, more, out;      /* bands */
  int16_t in_height, height;  /* rows that are read, and written */
  int16_t stride, top, reach; /* row y is made of y * stride - top and as many as `reach` */
} Stage;
