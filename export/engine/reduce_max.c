/* needs reduce */
KERNEL void reduce_max(const Reduce* r, const int8_t* in, int8_t* out) { reduce(r, in, out, 0); }
