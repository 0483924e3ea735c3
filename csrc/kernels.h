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

// A step of AdamW: p = keep p - step m / (sqrt(v) correction + eps), where first
// m += new_mean (g - m) and v = old_square v + new_square g^2.
struct AdamW {
  void* parameters;
  const void* gradients;
  void* means;
  void* squares;
  double keep, step, eps;
  double new_mean, old_square, new_square, correction;
};

// Sums over the rows of a matrix; strides in elements.
struct Sums {
  const void* x;
  int64_t rows, row_stride, column_stride;
  void* out;
};

// Cross-entropy of one member: z and grad are contiguous (classes, rows).
struct Softmax {
  const void* z;
  const int64_t* target;
  int64_t classes, rows, target_stride;
  double smoothing;
  void* grad;    // softmax minus the smoothed target
  void* values;  // per row: the mean of the log probabilities under the smoothed target
};

struct Kernels {
  const char* name;
  Kernel selu[kTypes];
  Kernel selu_grad[kTypes];
  Kernel selu_grad_from_output[kTypes];
  Kernel alpha_dropout[kTypes];
  // For float64 and float32 alone; begin and end are any.
  void (*adamw[2])(const AdamW&, int64_t begin, int64_t end);
  void (*column_sums[2])(const Sums&, int64_t begin, int64_t end);
  void (*softmax[2])(const Softmax&);
};

namespace baseline { const Kernels& kernels(); }
namespace avx2 { const Kernels& kernels(); }
namespace avx512 { const Kernels& kernels(); }

}  // namespace selfnorm
