/* needs reduce */
KERNEL(reduce_sum) { reduce(op, in, out, 1); }
