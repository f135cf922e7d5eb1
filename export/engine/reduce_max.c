/* needs reduce */
KERNEL(reduce_max) { reduce(op, in, out, 0); }
