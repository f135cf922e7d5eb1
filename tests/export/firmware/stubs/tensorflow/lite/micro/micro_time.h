// Stub for tests: a clock that advances by 7 each time it is read.
#ifndef STUB_MICRO_TIME_H_
#define STUB_MICRO_TIME_H_

#include <cstdint>

namespace tflite {

inline std::uint32_t ticks_per_second() { return 1000; }

inline std::uint32_t GetCurrentTimeTicks() {
  static std::uint32_t now = 0;
  return now += 7;
}

}  // namespace tflite

#endif  // STUB_MICRO_TIME_H_
