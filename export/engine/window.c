/* A window that moves over a map [height, width, depth]. */
typedef struct {
  uint16_t in_height, in_width, depth, out_height, out_width;
  uint16_t height, width, stride_y, stride_x, dilation_y, dilation_x;
  int16_t top, left; /* rows and columns of padding before the map */
  int8_t zero;
} Window;
