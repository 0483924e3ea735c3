// Tensors as the kernels see them, by LibTorch's stable ABI.
#pragma once

#include "kernels.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cmath>
#include <cstring>
#include <string>

namespace selfnorm {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Null where SELFNORM_CPU asks for what there is not; ops/_native.py refuses to go on then.
extern const Kernels* const chosen;

// ---- tensors as rows --------------------------------------------------------------------------

// At most this many elements are worth one thread alone.
constexpr int64_t kGrain = 32 * kTile;

// Rows with gaps between them are walked one by one. With fewer columns, copies without gaps are
// faster: by nine at one column; with more they are slower (one thread, AVX-512).
constexpr int64_t kShortRow = 64;

struct View {
  explicit View(const Tensor& tensor) : tensor(tensor), numel(tensor.numel()), dim(tensor.dim()) {
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(tensor.get(), &sizes));
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(tensor.get(), &strides));
    int32_t code;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(tensor.get(), &code));
    type = code;
    contiguous = has_rows() && row_stride() == columns();
  }

  int64_t columns() const { return dim == 0 ? 1 : sizes[dim - 1]; }

  // Whether the last dimension is contiguous and all others count rows at one distance.
  bool has_rows() const {
    if (dim == 0) return true;
    if (sizes[dim - 1] != 1 && strides[dim - 1] != 1) return false;
    int64_t next = 0, expected = 0;  // 0: no row dimension seen yet
    for (int64_t k = dim - 2; k >= 0; --k) {
      if (sizes[k] == 1) continue;
      if (next != 0 && strides[k] != expected) return false;
      if (strides[k] < columns()) return false;
      next = 1;
      expected = strides[k] * sizes[k];
    }
    return true;
  }

  int64_t row_stride() const {
    for (int64_t k = dim - 2; k >= 0; --k)
      if (sizes[k] != 1) return strides[k];
    return columns();
  }

  // Whether the elements fill a range of memory without gaps, in whatever order.
  bool is_dense() const {
    if (contiguous) return true;
    int64_t expected = 1, left = 1;
    for (int64_t k = 0; k < dim; ++k) left *= sizes[k];
    while (left > 1) {
      bool found = false;
      for (int64_t k = 0; k < dim && !found; ++k) {
        if (sizes[k] != 1 && strides[k] == expected) {
          expected *= sizes[k];
          left /= sizes[k];
          found = true;
        }
      }
      if (!found) return false;
    }
    return true;
  }

  bool same_layout(const View& other) const {
    for (int64_t k = 0; k < dim; ++k)
      if (sizes[k] != 1 && strides[k] != other.strides[k]) return false;
    return true;
  }

  bool same_shape(const View& other) const {
    return dim == other.dim && std::memcmp(sizes, other.sizes, size_t(dim) * sizeof(int64_t)) == 0;
  }

  void* data() const { return tensor.data_ptr(); }

  const Tensor& tensor;
  int64_t numel, dim;
  int64_t* sizes;
  int64_t* strides;
  int32_t type;
  bool contiguous;
};

inline Type type_of(const View& x, const char* name) {
  switch (static_cast<ScalarType>(x.type)) {
    case ScalarType::Double:
      return kFloat64;
    case ScalarType::Float:
      return kFloat32;
    case ScalarType::BFloat16:
      return kBFloat16;
    case ScalarType::Half:
      return kFloat16;
    default:
      STD_TORCH_CHECK(
          false, name, " must be float64, float32, bfloat16 or float16, however: its type is ",
          torch::headeronly::toString(static_cast<ScalarType>(x.type)));
  }
  return kTypes;
}

inline std::string described(const View& view) {
  std::string text = torch::headeronly::toString(static_cast<ScalarType>(view.type));
  for (int64_t k = 0; k < view.dim; ++k)
    text += (k == 0 ? " [" : ", ") + std::to_string(view.sizes[k]);
  return text + (view.dim == 0 ? " []" : "]");
}

inline void check_like(const View& x, const char* name, const View& other, const char* other_name) {
  STD_TORCH_CHECK(
      other.type == x.type && other.same_shape(x), other_name, " must have the type and shape of ",
      name, ", ", described(x), ", however: ", other_name, " is ", described(other));
}

// ---- a call -----------------------------------------------------------------------------------

struct Constants {
  double p, alpha, scale, a, b;
};

// A product to twice the digits: value + low.
struct Product {
  double value, low;
};

inline Product product(double x, double y) {
  const double value = x * y;
  return {value, std::fma(x, y, -value)};
}

inline void fill(Call& call, Type type, const Constants& k) {
  const Product a_scale = product(k.a, k.scale);
  Product c = product(a_scale.value, k.alpha);
  c.low += a_scale.low * k.alpha;
  call.a_scale = a_scale.value;
  call.c = type == kFloat64 ? c.value : double(float(c.value));
  call.c_low = (c.value - call.c) + c.low;
  call.b = k.b;
  call.dropped = k.b - c.value;
  call.a = k.a;
}

// What a layer needs to know to draw: key, offset, and p to the nearest multiple of 2^-32.
inline Decisions decisions_from(const uint64_t* rng, double p) {
  STD_TORCH_CHECK(p >= 0.0 && p <= 1.0, "p must be in [0, 1], however: p=", p);
  const auto threshold = static_cast<uint64_t>(std::nearbyint(p * 0x1p32));
  return {rng[0], rng[1], uint32_t(threshold >> 16), uint32_t(threshold & 0xffffu)};
}

}  // namespace selfnorm
