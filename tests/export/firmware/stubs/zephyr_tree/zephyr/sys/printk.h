// Stub for tests.
#pragma once
#include <cstdio>
#define printk std::printf
