// Stub for tests: reads the input a test expects, and answers with the output it names.
#ifndef STUB_MICRO_INTERPRETER_H_
#define STUB_MICRO_INTERPRETER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

#define TFLITE_SCHEMA_VERSION (3)

// Defined by the test.
extern std::int8_t stub_input[];
extern std::int8_t stub_output[];
extern const std::size_t stub_input_bytes;
extern const std::size_t stub_output_bytes;
extern const std::size_t stub_arena_bytes;

struct TfLiteTensor {
  union {
    std::int8_t* int8;
  } data;
  std::size_t bytes;
};

namespace tflite {

class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, std::uint8_t* arena,
                   std::size_t arena_bytes)
      : ready_(reinterpret_cast<std::uintptr_t>(model) % 16 == 0 &&
               reinterpret_cast<std::uintptr_t>(arena) % 16 == 0 &&
               resolver.registered == resolver.capacity && arena_bytes >= stub_arena_bytes),
        input_{{received_}, stub_input_bytes},
        output_{{answer_}, stub_output_bytes} {}

  TfLiteStatus AllocateTensors() { return ready_ ? kTfLiteOk : kTfLiteError; }

  TfLiteStatus Invoke() {
    if (std::memcmp(received_, stub_input, stub_input_bytes) != 0) return kTfLiteError;
    std::memcpy(answer_, stub_output, stub_output_bytes);
    std::memset(received_, 0x55, stub_input_bytes);  // the planner may give this memory away
    return kTfLiteOk;
  }

  TfLiteTensor* input(std::size_t) { return &input_; }
  TfLiteTensor* output(std::size_t) { return &output_; }
  std::size_t arena_used_bytes() const { return stub_arena_bytes; }

 private:
  bool ready_;
  std::int8_t received_[65536] = {};
  std::int8_t answer_[4096] = {};
  TfLiteTensor input_;
  TfLiteTensor output_;
};

}  // namespace tflite

#endif  // STUB_MICRO_INTERPRETER_H_
