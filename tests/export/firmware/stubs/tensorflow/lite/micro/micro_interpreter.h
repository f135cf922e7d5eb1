// Stub for tests: reads the inputs a test expects, and answers with the outputs it names. Where a test
// defines a stand-in for the network, that answers any other input.
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
extern const std::size_t stub_input_sizes[];  // bytes of each input, which lie one behind another
extern const std::size_t stub_output_sizes[];  // both end with 0
extern const std::size_t stub_arena_bytes;
__attribute__((weak)) void stub_network(const std::int8_t* input, std::int8_t* output);

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
        received_(reinterpret_cast<std::int8_t*>(arena)) {
    input_bytes_ = Lay(stub_input_sizes, received_, inputs_);
    while (stub_input_sizes[inputs_size_] != 0) ++inputs_size_;
    answer_ = received_ + input_bytes_;
    output_bytes_ = Lay(stub_output_sizes, answer_, outputs_);
  }

  TfLiteStatus AllocateTensors() { return ready_ ? kTfLiteOk : kTfLiteError; }

  TfLiteStatus Reset() { return kTfLiteOk; }

  TfLiteStatus Invoke() {
    if (std::memcmp(received_, stub_input, input_bytes_) == 0) {
      std::memcpy(answer_, stub_output, output_bytes_);
    } else if (stub_network != nullptr) {
      stub_network(received_, answer_);
    } else {
      return kTfLiteError;
    }
    std::memset(received_, 0x55, input_bytes_);  // the planner may give this memory away
    return kTfLiteOk;
  }

  std::size_t inputs_size() const { return inputs_size_; }
  TfLiteTensor* input(std::size_t position) { return &inputs_[position]; }
  TfLiteTensor* output(std::size_t position) { return &outputs_[position]; }
  std::size_t arena_used_bytes() const { return stub_arena_bytes; }

 private:
  static std::size_t Lay(const std::size_t* sizes, std::int8_t* memory, TfLiteTensor* tensors) {
    std::size_t used = 0;
    for (; *sizes != 0; used += *sizes++) *tensors++ = {{memory + used}, *sizes};
    return used;
  }

  bool ready_;
  std::int8_t *received_, *answer_;
  std::size_t input_bytes_, output_bytes_, inputs_size_ = 0;
  TfLiteTensor inputs_[4] = {};
  TfLiteTensor outputs_[4] = {};
};

}  // namespace tflite

#endif  // STUB_MICRO_INTERPRETER_H_
