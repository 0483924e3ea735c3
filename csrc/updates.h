// Loops of the training engine: the loss of classes, sums over the rows, the optimiser's step.
#pragma once

#include "arithmetic.h"

namespace selfnorm {
namespace SELFNORM_ISA {
namespace {

SELFNORM_INLINE float root(float x) { return __builtin_sqrtf(x); }
SELFNORM_INLINE double root(double x) { return __builtin_sqrt(x); }

SELFNORM_INLINE float logarithm(float x) { return __builtin_logf(x); }
SELFNORM_INLINE double logarithm(double x) { return __builtin_log(x); }

// One step on elements begin to end.
template <class F>
void adamw(const AdamW& call, int64_t begin, int64_t end) {
  F* const parameters = static_cast<F*>(call.parameters);
  const F* const gradients = static_cast<const F*>(call.gradients);
  F* const means = static_cast<F*>(call.means);
  F* const squares = static_cast<F*>(call.squares);
  const F keep = F(call.keep), step = F(call.step), eps = F(call.eps);
  const F new_mean = F(call.new_mean), old_square = F(call.old_square);
  const F new_square = F(call.new_square), correction = F(call.correction);
  SELFNORM_LOOP
  for (int64_t j = begin; j < end; ++j) {
    const F gradient = gradients[j];
    const F mean = multiply_add(new_mean, gradient - means[j], means[j]);
    const F square = multiply_add(old_square, squares[j], new_square * gradient * gradient);
    means[j] = mean;
    squares[j] = square;
    const F root_of_square = multiply_add(root(square), correction, eps);
    parameters[j] = multiply_add(keep, parameters[j], -step * (mean / root_of_square));
  }
}

// out[j] = the sum over rows of x[row, j], for columns begin to end.
template <class F>
void column_sums(const Sums& call, int64_t begin, int64_t end) {
  constexpr int kWide = 64;
  const F* const x = static_cast<const F*>(call.x);
  F* const out = static_cast<F*>(call.out);
  int64_t j = begin;
  for (; call.column_stride == 1 && j + kWide <= end; j += kWide) {
    F sums[kWide] = {};
    for (int64_t i = 0; i < call.rows; ++i) {
      const F* const row = x + i * call.row_stride + j;
      SELFNORM_LOOP
      for (int k = 0; k < kWide; ++k) sums[k] += row[k];
    }
    SELFNORM_LOOP
    for (int k = 0; k < kWide; ++k) out[j + k] = sums[k];
  }
  for (; j < end; ++j) {
    // Sixteen sums at a time, so that an addition need not wait for the last one.
    F sums[16] = {};
    const F* const column = x + j * call.column_stride;
    int64_t i = 0;
    for (; i + 16 <= call.rows; i += 16) {
      SELFNORM_LOOP
      for (int k = 0; k < 16; ++k) sums[k] += column[(i + k) * call.row_stride];
    }
    F sum = 0;
    for (int k = 0; k < 16; ++k) sum += sums[k];
    for (; i < call.rows; ++i) sum += column[i * call.row_stride];
    out[j] = sum;
  }
}

template <class F>
void softmax(const Softmax& call) {
  constexpr int kWide = 64;
  const int64_t classes = call.classes, rows = call.rows;
  const F each = F(call.smoothing) / F(classes), own = F(1) - F(call.smoothing);
  for (int64_t first = 0; first < rows; first += kWide) {
    const int count = rows - first < kWide ? int(rows - first) : kWide;
    const F* const z = static_cast<const F*>(call.z) + first;
    F* const grad = static_cast<F*>(call.grad) + first;
    F* const values = static_cast<F*>(call.values) + first;
    F largest[kWide], sum[kWide], total[kWide];
    for (int j = 0; j < count; ++j) largest[j] = z[j], sum[j] = total[j] = F(0);
    for (int64_t c = 1; c < classes; ++c) {
      SELFNORM_LOOP
      for (int j = 0; j < count; ++j) {
        const F value = z[c * rows + j];
        largest[j] = value > largest[j] ? value : largest[j];
      }
    }
    for (int64_t c = 0; c < classes; ++c) {
      SELFNORM_LOOP
      for (int j = 0; j < count; ++j) {
        const F below = z[c * rows + j] - largest[j];
        const F e = times_exp_negative<F>(below, F(1), F(0));
        grad[c * rows + j] = e;
        sum[j] += e;
        total[j] += below;
      }
    }
    for (int j = 0; j < count; ++j) {
      const int64_t target = call.target[(first + j) * call.target_stride];
      values[j] = own * (z[target * rows + j] - largest[j]) - logarithm(sum[j]);
      if (each != F(0)) values[j] += each * total[j];  // 0 times infinity is no number
    }
    SELFNORM_LOOP
    for (int j = 0; j < count; ++j) sum[j] = F(1) / sum[j];
    for (int64_t c = 0; c < classes; ++c) {
      SELFNORM_LOOP
      for (int j = 0; j < count; ++j) grad[c * rows + j] = grad[c * rows + j] * sum[j] - each;
    }
    for (int j = 0; j < count; ++j)
      grad[call.target[(first + j) * call.target_stride] * rows + j] -= own;
  }
}

}  // namespace
}  // namespace SELFNORM_ISA
}  // namespace selfnorm
