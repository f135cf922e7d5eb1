// Stub for tests: what generated projects use of the real header of this name.
#ifndef STUB_SCHEMA_GENERATED_H_
#define STUB_SCHEMA_GENERATED_H_

#include <cstdint>

namespace tflite {

struct Model {
  std::uint32_t version() const { return 3; }
};

inline const Model* GetModel(const void* buffer) { return static_cast<const Model*>(buffer); }

}  // namespace tflite

#endif  // STUB_SCHEMA_GENERATED_H_
