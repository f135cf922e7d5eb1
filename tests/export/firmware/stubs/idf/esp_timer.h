// Stub for tests.
#pragma once
#include <cstdint>
inline std::int64_t esp_timer_get_time() { return 0; }
