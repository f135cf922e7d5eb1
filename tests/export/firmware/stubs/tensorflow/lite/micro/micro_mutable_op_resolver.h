// Stub for tests: prints what is registered, and refuses one operator too many.
#ifndef STUB_MICRO_MUTABLE_OP_RESOLVER_H_
#define STUB_MICRO_MUTABLE_OP_RESOLVER_H_

#include <cstdio>

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

namespace tflite {

class MicroOpResolver {
 public:
  unsigned registered = 0;
  unsigned capacity = 0;
};

template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  MicroMutableOpResolver() { capacity = tOpCount; }

  TfLiteStatus AddConv2D() { return Add("CONV_2D"); }
  TfLiteStatus AddDepthwiseConv2D() { return Add("DEPTHWISE_CONV_2D"); }
  TfLiteStatus AddFullyConnected() { return Add("FULLY_CONNECTED"); }
  TfLiteStatus AddAdd() { return Add("ADD"); }
  TfLiteStatus AddMul() { return Add("MUL"); }
  TfLiteStatus AddPad() { return Add("PAD"); }
  TfLiteStatus AddAveragePool2D() { return Add("AVERAGE_POOL_2D"); }
  TfLiteStatus AddMaxPool2D() { return Add("MAX_POOL_2D"); }
  TfLiteStatus AddMean() { return Add("MEAN"); }
  TfLiteStatus AddReshape() { return Add("RESHAPE"); }
  TfLiteStatus AddSoftmax() { return Add("SOFTMAX"); }
  TfLiteStatus AddConcatenation() { return Add("CONCATENATION"); }
  TfLiteStatus AddLogistic() { return Add("LOGISTIC"); }
  TfLiteStatus AddHardSwish() { return Add("HARD_SWISH"); }
  TfLiteStatus AddRelu() { return Add("RELU"); }
  TfLiteStatus AddRelu6() { return Add("RELU6"); }
  TfLiteStatus AddUnidirectionalSequenceLSTM() { return Add("UNIDIRECTIONAL_SEQUENCE_LSTM"); }

 private:
  TfLiteStatus Add(const char* kind) {
    if (registered == tOpCount) return kTfLiteError;
    ++registered;
#if !defined(STUB_SILENT)
    std::printf("registered %s\n", kind);
#else
    static_cast<void>(kind);
#endif
    return kTfLiteOk;
  }
};

}  // namespace tflite

#endif  // STUB_MICRO_MUTABLE_OP_RESOLVER_H_
