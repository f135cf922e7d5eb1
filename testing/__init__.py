"""Networks, measurements and worlds that tests and benchmarks share; micronas needs none of it."""
