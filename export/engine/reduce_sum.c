/* needs reduce */
KERNEL void reduce_sum(const Reduce* r, const int8_t* in, int8_t* out) { reduce(r, in, out, 1); }
