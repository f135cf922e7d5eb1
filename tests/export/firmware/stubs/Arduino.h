// Stub for tests: a serial port that is the standard output.
#ifndef STUB_ARDUINO_H_
#define STUB_ARDUINO_H_

#include <cstdio>

struct SerialPort {
  void begin(unsigned long) {}
  explicit operator bool() const { return true; }
  void print(const char* text) { std::printf("%s", text); }
  void print(unsigned value) { std::printf("%u", value); }
  void println(const char* text) { std::printf("%s\n", text); }
  void println(unsigned value) { std::printf("%u\n", value); }
};

inline SerialPort Serial;

#endif  // STUB_ARDUINO_H_
