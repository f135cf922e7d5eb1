"""Engine without an interpreter: C99 of one int8 network, bit for bit as integer execution."""
