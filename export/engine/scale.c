/* Of each channel: a sum begins with its bias, in which the input's zero point is. */
typedef struct {
  int32_t bias, multiplier;
} Scale;
