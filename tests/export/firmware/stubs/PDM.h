// Stub for tests: a microphone that hears the standard input whenever the program waits.
#ifndef STUB_PDM_H_
#define STUB_PDM_H_

#include <cstddef>
#include <cstdio>
#include <cstdlib>

struct Microphone {
  void onReceive(void (*callback)()) { callback_ = callback; }
  int begin(int channels, int rate) { return channels == 1 && rate == 16000; }
  int available() { return left_; }
  int read(void* bytes, std::size_t count) {
    const std::size_t wanted = count < static_cast<std::size_t>(left_) ? count : left_;
    const std::size_t heard = std::fread(bytes, 1, wanted, stdin);
    if (heard == 0) std::exit(0);
    left_ -= static_cast<int>(heard);
    return static_cast<int>(heard);
  }
  void Interrupt() {
    left_ = 512;
    callback_();
  }

 private:
  void (*callback_)() = nullptr;
  int left_ = 0;
};

inline Microphone PDM;

inline void yield() { PDM.Interrupt(); }

#endif  // STUB_PDM_H_
