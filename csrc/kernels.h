// The kernels, without torch: what they take, and how they are chosen.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace selfnorm {

// A matrix of rows with contiguous columns; strides in elements.
struct Rows {
  void* data;
  int64_t stride;
};

struct Decisions {
  uint64_t key;
  uint64_t offset;
  uint32_t upper;  // p 2^32 = upper 2^16 + lower; upper <= 2^16
  uint32_t lower;
};

// One call of an operator. A result may be written over an input (the same data and stride).
struct Call {
  Rows x;     // input of the activation, or its output y
  Rows grad;  // gradient to multiply
  Rows out;
  int64_t columns;
  const void* bias;            // in the type of computing, or null
  const Decisions* decisions;  // or null: nothing is dropped
  double a_scale;              // a scale
  double c, c_low;             // a scale alpha, in two parts of the type of computing
  double b;
  double dropped;  // value of a dropped element
  double a;        // alpha dropout: factor
};

enum Type { kFloat64, kFloat32, kBFloat16, kFloat16, kTypes };

// Elements begin to end, counted along the rows; begin is a multiple of kTile.
using Kernel = void (*)(const Call&, int64_t begin, int64_t end);

constexpr int64_t kTile = 1024;

struct Kernels {
  const char* name;
  Kernel selu[kTypes];
  Kernel selu_grad[kTypes];
  Kernel selu_grad_from_output[kTypes];
  Kernel alpha_dropout[kTypes];
};

namespace baseline { const Kernels& kernels(); }
namespace avx2 { const Kernels& kernels(); }
namespace avx512 { const Kernels& kernels(); }

}  // namespace selfnorm
