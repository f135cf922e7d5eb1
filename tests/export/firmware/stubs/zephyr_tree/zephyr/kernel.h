// Stub for tests.
#pragma once
#include <cstdint>

inline std::int64_t k_uptime_get() { return 0; }
inline std::uint32_t k_cycle_get_32() { return 0; }
inline int sys_clock_hw_cycles_per_sec() { return 1000; }
inline void k_yield() {}
