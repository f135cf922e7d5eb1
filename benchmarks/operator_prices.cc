// Counts what an operator takes in networks of one, which it reads from the machine that emulates:
// the time between TFLM's two calls of a profiler, less that of two calls with nothing between. A
// file is the model's size in 4 bytes, the model, its inputs, and the outputs that are expected.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "clock.h"
#include "console.h"
#include "resolver.h"
#include "tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.h"
#include "tensorflow/lite/micro/memory_planner/greedy_memory_planner.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern "C" {
const char* micronas_next(void);
std::uint32_t micronas_read(void* bytes, std::uint32_t count);
}

namespace {

constexpr unsigned kRuns = 32;
constexpr std::size_t kMegabyte = 1 << 20;

alignas(16) std::uint8_t model_bytes[kMegabyte];
alignas(16) std::uint8_t arena[kMegabyte];
alignas(16) std::uint8_t given[kMegabyte / 2];

// Kernels may write where an input was, once it is read.
void Restore(tflite::MicroInterpreter& interpreter) {
  const std::uint8_t* from = given;
  for (std::size_t i = 0; i < interpreter.inputs_size(); ++i) {
    TfLiteTensor* input = interpreter.input(i);
    std::memcpy(input->data.raw, from, input->bytes);
    from += input->bytes;
  }
}

class Stopwatch : public tflite::MicroProfilerInterface {
 public:
  std::uint32_t BeginEvent(const char*) override {
    start_ = ReadClock();
    return 0;
  }
  void EndEvent(std::uint32_t) override { total_ += ReadClock() - start_; }
  void Reset() { total_ = 0; }
  unsigned total() const { return total_; }

 private:
  unsigned start_ = 0;
  unsigned total_ = 0;
};

// Runs begin at other parts of a tick, so that their mean is finer than one.
void Wait(unsigned turns) {
  for (volatile unsigned turn = 0; turn < turns; turn = turn + 1) {
  }
}

void Nothing(tflite::MicroProfilerInterface& profiler) {
  for (unsigned run = 0; run < kRuns; ++run) {
    Wait(run);
    profiler.EndEvent(profiler.BeginEvent(""));
  }
}

unsigned Differences(tflite::MicroInterpreter& interpreter) {
  unsigned found = 0;
  for (std::size_t i = 0; i < interpreter.outputs_size(); ++i) {
    const TfLiteTensor* output = interpreter.output(i);
    for (std::size_t byte = 0; byte < output->bytes; ++byte) {
      char expected;
      micronas_read(&expected, 1);
      if (output->data.raw[byte] != expected) ++found;
    }
  }
  return found;
}

bool Measure() {
  std::uint32_t size = 0;
  micronas_read(&size, sizeof(size));
  if (size > sizeof(model_bytes) || micronas_read(model_bytes, size) != size) return false;
  Resolver resolver;
  if (!RegisterOperators(resolver)) return false;
  auto* memory = tflite::SingleArenaBufferAllocator::Create(arena, sizeof(arena));
  auto* planner = new (memory->AllocatePersistentBuffer(
      sizeof(tflite::GreedyMemoryPlanner), alignof(tflite::GreedyMemoryPlanner)))
      tflite::GreedyMemoryPlanner();
  Stopwatch stopwatch;
  tflite::MicroInterpreter interpreter(tflite::GetModel(model_bytes), resolver,
                                       tflite::MicroAllocator::Create(memory, planner), nullptr,
                                       &stopwatch);
  if (interpreter.AllocateTensors() != kTfLiteOk) return false;
  const unsigned head = memory->GetNonPersistentUsedBytes();
  const unsigned tail = memory->GetPersistentUsedBytes();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < interpreter.inputs_size(); ++i) bytes += interpreter.input(i)->bytes;
  if (bytes > sizeof(given) || micronas_read(given, bytes) != bytes) return false;
  Restore(interpreter);
  if (interpreter.Invoke() != kTfLiteOk) return false;
  const unsigned different = Differences(interpreter);
  StartClock();
  stopwatch.Reset();
  for (unsigned run = 0; run < kRuns; ++run) {
    Restore(interpreter);
    Wait(run);
    if (interpreter.Invoke() != kTfLiteOk) return false;
  }
  const unsigned whole = stopwatch.total();
  stopwatch.Reset();
  Nothing(stopwatch);
  const unsigned empty = stopwatch.total();
  MicroPrintf("%u %u %u %u %u", whole - empty, kRuns, head, tail, different);
  return true;
}

}  // namespace

// tflite-micro's cortex_m_generic logs through a callback; other libraries do not have it.
extern "C" __attribute__((weak)) void RegisterDebugLogCallback(void (*callback)(const char* text));

int main() {
  tflite::InitializeTarget();
  if (RegisterDebugLogCallback != nullptr) RegisterDebugLogCallback(micronas_puts);
  while (const char* path = micronas_next()) {
    if (!Measure()) {
      MicroPrintf("%s cannot be run", path);
      return 1;
    }
  }
  return 0;
}
