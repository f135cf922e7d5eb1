// Stub for tests.
#pragma once
inline void vTaskDelay(unsigned) {}
