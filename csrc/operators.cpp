// The operators of selfnorm/ops/_schema.py for CPU tensors, by LibTorch's stable ABI.

#include "kernels.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

namespace selfnorm {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// ---- which instruction set --------------------------------------------------------------------

const Kernels* best(const char* wanted) {
  const bool any = !wanted || !*wanted;
#if defined(SELFNORM_X86)
  __builtin_cpu_init();
  if ((any || !std::strcmp(wanted, "avx512")) && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return &avx512::kernels();
  if ((any || !std::strcmp(wanted, "avx2")) && __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return &avx2::kernels();
#endif
  if (any || !std::strcmp(wanted, "baseline")) return &baseline::kernels();
  return nullptr;  // not one of these, or not on this processor
}

// Null where SELFNORM_CPU asks for what there is not; ops/_native.py refuses to go on then.
const Kernels* const chosen = best(std::getenv("SELFNORM_CPU"));

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

Type type_of(const View& x, const char* name) {
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

std::string described(const View& view) {
  std::string text = torch::headeronly::toString(static_cast<ScalarType>(view.type));
  for (int64_t k = 0; k < view.dim; ++k)
    text += (k == 0 ? " [" : ", ") + std::to_string(view.sizes[k]);
  return text + (view.dim == 0 ? " []" : "]");
}

void check_like(const View& x, const char* name, const View& other, const char* other_name) {
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

Product product(double x, double y) {
  const double value = x * y;
  return {value, std::fma(x, y, -value)};
}

void fill(Call& call, Type type, const Constants& k) {
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

Decisions decisions(const std::optional<Tensor>& rng, double p) {
  STD_TORCH_CHECK(p >= 0.0 && p <= 1.0, "p must be in [0, 1], however: p=", p);
  const View view(*rng);
  STD_TORCH_CHECK(
      static_cast<ScalarType>(view.type) == ScalarType::Long && view.numel == 2 && view.contiguous,
      "rng must be two contiguous int64 numbers, key and offset, however: it has ", view.numel,
      " elements of type ", torch::headeronly::toString(static_cast<ScalarType>(view.type)));
  const auto* numbers = static_cast<const uint64_t*>(view.data());
  const auto threshold = static_cast<uint64_t>(std::nearbyint(p * 0x1p32));
  return {numbers[0], numbers[1], uint32_t(threshold >> 16), uint32_t(threshold & 0xffffu)};
}

void run(Kernel kernel, const Call& call, int64_t numel) {
  if (numel <= kGrain) {
    kernel(call, 0, numel);
    return;
  }
  const int64_t tiles = (numel + kTile - 1) / kTile;
  torch::stable::parallel_for(0, tiles, kGrain / kTile, [&](int64_t begin, int64_t end) {
    kernel(call, begin * kTile, end == tiles ? numel : end * kTile);
  });
}

// Whether two tensors may share memory, by where each begins and ends.
bool meet(const View& x, const View& y) {
  const auto end = [](const View& v) {
    int64_t last = 0;
    for (int64_t k = 0; k < v.dim; ++k) last += (v.sizes[k] - 1) * v.strides[k];
    const int64_t width = v.type == static_cast<int32_t>(ScalarType::Double)  ? 8
                          : v.type == static_cast<int32_t>(ScalarType::Float) ? 4
                                                                              : 2;
    return static_cast<const char*>(v.data()) + (last + 1) * width;
  };
  return x.data() < static_cast<const void*>(end(y)) && y.data() < static_cast<const void*>(end(x));
}

// Whether writing to `out` may change elements of x that are still to be read.
bool overlap(const View& x, const View& out) {
  // Element by element is allowed.
  return !(x.data() == out.data() && x.same_layout(out)) && meet(x, out);
}

// Run a kernel on x, grad (or null) and out, whatever their layouts.
void apply(
    const Kernel (&kernels)[kTypes], const Tensor& x_tensor, const Tensor* grad_tensor,
    const Tensor& out_tensor, const std::optional<Tensor>& bias, const Decisions* rng,
    const Constants& constants, const char* name) {
  const View x(x_tensor), out(out_tensor);
  const View grad(grad_tensor ? *grad_tensor : x_tensor);
  const Type type = type_of(x, name);
  check_like(x, name, grad, "grad");
  check_like(x, name, out, "out");
  Call call{};
  fill(call, type, constants);
  if (bias) {
    const View view(*bias);
    const auto computed = type == kFloat64 ? ScalarType::Double : ScalarType::Float;
    STD_TORCH_CHECK(
        static_cast<ScalarType>(view.type) == computed, "bias must be ",
        torch::headeronly::toString(computed), ", which ", name, " is computed in, however: it is ",
        torch::headeronly::toString(static_cast<ScalarType>(view.type)));
    STD_TORCH_CHECK(
        x.dim > 0 && view.dim == 1 && view.numel == x.columns(),
        "bias must have one dimension, of one element per feature of ", name, ", however: ", name,
        " is ", described(x), ", bias is ", described(view));
    if (x.numel == 0) return;
    const bool shared = meet(view, out);
    if (shared || !view.contiguous) {
      const Tensor copy =
          shared ? torch::stable::clone(*bias) : torch::stable::contiguous(*bias);
      apply(kernels, x_tensor, grad_tensor, out_tensor, copy, rng, constants, name);
      return;
    }
    call.bias = view.data();
  }
  if (x.numel == 0) return;
  const bool elementwise = !bias && !rng;
  const bool flat = x.contiguous && grad.contiguous && out.contiguous;
  const bool permuted = !flat && elementwise && x.is_dense() && x.same_layout(out) &&
                        x.same_layout(grad);
  const bool clear = !overlap(x, out) && (!grad_tensor || !overlap(grad, out));
  const bool rows = flat || (x.columns() >= kShortRow && x.has_rows() && grad.has_rows() &&
                             out.has_rows());
  if (clear && (permuted || rows)) {
    const bool one_row = (flat && !bias) || permuted;
    call.columns = one_row ? x.numel : x.columns();
    call.x = {x.data(), one_row ? x.numel : x.row_stride()};
    if (grad_tensor) call.grad = {grad.data(), one_row ? x.numel : grad.row_stride()};
    call.out = {out.data(), one_row ? x.numel : out.row_stride()};
    call.decisions = rng;
    run(kernels[type], call, x.numel);
    return;
  }
  for (int64_t k = 0; k < out.dim; ++k)
    STD_TORCH_CHECK(
        out.sizes[k] == 1 || out.strides[k] != 0,
        "out must have a place of its own for each element, however: dimension ", k,
        " of out is expanded; torch.empty_like(", name, ") has one");
  const Tensor x_copy = torch::stable::contiguous(x_tensor);
  const Tensor grad_copy = grad_tensor ? torch::stable::contiguous(*grad_tensor) : x_copy;
  Tensor result = clear && out.contiguous ? out_tensor : torch::stable::new_empty(
      x_copy, torch::headeronly::IntHeaderOnlyArrayRef(x.sizes, size_t(x.dim)));
  apply(
      kernels, x_copy, grad_tensor ? &grad_copy : nullptr, result, bias, rng, constants, name);
  if (result.get() != out_tensor.get()) {
    Tensor target = out_tensor;
    torch::stable::copy_(target, result);
  }
}

Tensor like(const Tensor& tensor) {
  const View x(tensor);
  if (!x.contiguous) return torch::stable::empty_like(tensor);
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      x.dim, x.sizes, x.strides, x.type, aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

// ---- the operators ----------------------------------------------------------------------------

void selu_out(
    Tensor x, std::optional<Tensor> bias, std::optional<Tensor> rng, double p, double alpha,
    double scale, double a, double b, Tensor out) {
  const Constants constants{p, alpha, scale, a, b};
  const Decisions drawn = rng ? decisions(rng, p) : Decisions{};
  apply(chosen->selu, x, nullptr, out, bias, rng ? &drawn : nullptr, constants, "x");
}

Tensor selu(
    Tensor x, std::optional<Tensor> bias, std::optional<Tensor> rng, double p, double alpha,
    double scale, double a, double b) {
  Tensor out = like(x);
  selu_out(x, std::move(bias), std::move(rng), p, alpha, scale, a, b, out);
  return out;
}

void selu_grad_out(
    Tensor grad, Tensor x, std::optional<Tensor> bias, std::optional<Tensor> rng, double p,
    double alpha, double scale, double a, Tensor out) {
  const Constants constants{p, alpha, scale, a, 0.0};
  const Decisions drawn = rng ? decisions(rng, p) : Decisions{};
  apply(chosen->selu_grad, x, &grad, out, bias, rng ? &drawn : nullptr, constants, "x");
}

Tensor selu_grad(
    Tensor grad, Tensor x, std::optional<Tensor> bias, std::optional<Tensor> rng, double p,
    double alpha, double scale, double a) {
  Tensor out = like(grad);
  selu_grad_out(std::move(grad), std::move(x), std::move(bias), std::move(rng), p, alpha, scale, a,
                out);
  return out;
}

void selu_grad_from_output_out(
    Tensor grad, Tensor y, double alpha, double scale, double a, double b, Tensor out) {
  const Constants constants{0.0, alpha, scale, a, b};
  apply(
      chosen->selu_grad_from_output, y, &grad, out, std::nullopt, nullptr, constants, "y");
}

Tensor selu_grad_from_output(
    Tensor grad, Tensor y, double alpha, double scale, double a, double b) {
  Tensor out = like(grad);
  selu_grad_from_output_out(std::move(grad), std::move(y), alpha, scale, a, b, out);
  return out;
}

void alpha_dropout_out(
    Tensor x, Tensor rng, double p, double a, double b, double saturation, Tensor out) {
  // a saturation + b, as SELU's constants would make it.
  const Constants constants{p, -saturation, 1.0, a, b};
  const Decisions drawn = decisions(rng, p);
  apply(chosen->alpha_dropout, x, nullptr, out, std::nullopt, &drawn, constants, "x");
}

Tensor alpha_dropout(Tensor x, Tensor rng, double p, double a, double b, double saturation) {
  Tensor out = like(x);
  alpha_dropout_out(std::move(x), std::move(rng), p, a, b, saturation, out);
  return out;
}

}  // namespace
}  // namespace selfnorm

// The name of the instruction set in use, or null.
extern "C"
#if defined(_WIN32)
    __declspec(dllexport)
#else
    __attribute__((visibility("default")))
#endif
    const char* selfnorm_cpu() {
  return selfnorm::chosen ? selfnorm::chosen->name : nullptr;
}

STABLE_TORCH_LIBRARY_IMPL(selfnorm, CPU, m) {
  if (!selfnorm::chosen) return;  // Python refuses to go on; whoever does gets the reference.
  m.impl("selu", TORCH_BOX(&selfnorm::selu));
  m.impl("selu.out", TORCH_BOX(&selfnorm::selu_out));
  m.impl("selu_grad", TORCH_BOX(&selfnorm::selu_grad));
  m.impl("selu_grad.out", TORCH_BOX(&selfnorm::selu_grad_out));
  m.impl("selu_grad_from_output", TORCH_BOX(&selfnorm::selu_grad_from_output));
  m.impl("selu_grad_from_output.out", TORCH_BOX(&selfnorm::selu_grad_from_output_out));
  m.impl("alpha_dropout", TORCH_BOX(&selfnorm::alpha_dropout));
  m.impl("alpha_dropout.out", TORCH_BOX(&selfnorm::alpha_dropout_out));
}
