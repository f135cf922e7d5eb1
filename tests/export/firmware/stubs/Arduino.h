// Stub for tests: a serial port that is the standard input and output.
#ifndef STUB_ARDUINO_H_
#define STUB_ARDUINO_H_

#include <cstddef>
#include <cstdio>

inline unsigned long millis() { return 0; }
inline unsigned long micros() { return 0; }
void yield();  // PDM.h waits by it

class Print {};

struct SerialPort : Print {
  void begin(unsigned long) {}
  explicit operator bool() const { return true; }
  std::size_t readBytes(char* bytes, std::size_t count) {
    return std::fread(bytes, 1, count, stdin);
  }
  void print(int value) { std::printf("%d", value); }
  void print(unsigned long value) { std::printf("%lu", value); }
  void print(const char* text) { std::printf("%s", text); }
  void print(unsigned value) { std::printf("%u", value); }
  void println(const char* text) { std::printf("%s\n", text); }
  void println(unsigned value) { std::printf("%u\n", value); }
};

inline SerialPort Serial;

#endif  // STUB_ARDUINO_H_
