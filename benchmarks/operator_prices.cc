// Counts what Invoke takes on networks that it reads from the machine that emulates, one a file:
// the model's size in 4 bytes, the model, its inputs, and the outputs that are expected.
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
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern "C" {
const char* micronas_next(void);
std::uint32_t micronas_read(void* bytes, std::uint32_t count);
}

namespace {

constexpr unsigned kRuns = 16;
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

bool Invoke(tflite::MicroInterpreter& interpreter, bool runs) {
  return !runs || interpreter.Invoke() == kTfLiteOk;
}

// Ticks of kRuns turns of a loop around Invoke, or around nothing.
unsigned Turns(tflite::MicroInterpreter& interpreter, bool runs) {
  StartClock();
  const unsigned start = ReadClock();
  for (unsigned run = 0; run < kRuns; ++run) {
    Restore(interpreter);
    if (!Invoke(interpreter, runs)) return 0;
  }
  return ReadClock() - start;
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
  tflite::MicroInterpreter interpreter(tflite::GetModel(model_bytes), resolver,
                                       tflite::MicroAllocator::Create(memory, planner));
  if (interpreter.AllocateTensors() != kTfLiteOk) return false;
  const unsigned head = memory->GetNonPersistentUsedBytes();
  const unsigned tail = memory->GetPersistentUsedBytes();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < interpreter.inputs_size(); ++i) bytes += interpreter.input(i)->bytes;
  if (bytes > sizeof(given) || micronas_read(given, bytes) != bytes) return false;
  Restore(interpreter);
  if (!Invoke(interpreter, true)) return false;
  const unsigned different = Differences(interpreter);
  const unsigned empty = Turns(interpreter, false);
  const unsigned whole = Turns(interpreter, true);
  if (whole == 0) return false;
  MicroPrintf("%u %u %u %u %u", whole - empty, kRuns, head, tail, different);
  return true;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  StartConsole();
  while (const char* path = micronas_next()) {
    if (!Measure()) {
      MicroPrintf("%s cannot be run", path);
      return 1;
    }
  }
  return 0;
}
