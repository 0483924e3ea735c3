// The operators of selfnorm/ops/_schema.py for CPU tensors.

#include "tensors.h"

#include <cstdlib>
#include <optional>
#include <utility>

namespace selfnorm {
namespace {

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

}  // namespace

const Kernels* const chosen = best(std::getenv("SELFNORM_CPU"));

namespace {

// ---- a call -----------------------------------------------------------------------------------

Decisions decisions(const std::optional<Tensor>& rng, double p) {
  const View view(*rng);
  STD_TORCH_CHECK(
      static_cast<ScalarType>(view.type) == ScalarType::Long && view.numel == 2 && view.contiguous,
      "rng must be two contiguous int64 numbers, key and offset, however: it has ", view.numel,
      " elements of type ", torch::headeronly::toString(static_cast<ScalarType>(view.type)));
  return decisions_from(static_cast<const uint64_t*>(view.data()), p);
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
