// The operators of selfnorm/ops/_training.py for CPU tensors: a step of K plain networks.

#include "tensors.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <vector>

namespace selfnorm {
namespace {

// At most this many elements are worth one thread alone: here a thread is woken between products,
// which costs more than in a call of its own.
constexpr int64_t kGrain = 32 * kTile;

constexpr int64_t kBlock = 64;  // columns that are summed together

using Tensors = std::vector<Tensor>;
using Numbers = std::vector<double>;

void multiply(const Tensor& left, const Tensor& right, const Tensor& out) {
  const auto product = out.dim() == 2 ? aoti_torch_cpu_mm_out : aoti_torch_cpu_bmm_out;
  STABLE_TORCH_ERROR_CODE_CHECK(product(out.get(), left.get(), right.get()));
}

void check_count(const char* name, size_t count, size_t expected) {
  STD_TORCH_CHECK(count == expected, name, " must be ", expected, " in number, however: it is ",
                  count);
}

// The elements of one member in a contiguous tensor of float32 or float64.
struct Part {
  Part(const Tensor& tensor, const char* name, size_t members) : view(tensor) {
    type = type_of(view, name);
    STD_TORCH_CHECK(type <= kFloat32, name, " must be float64 or float32, however: ",
                    described(view));
    STD_TORCH_CHECK(view.contiguous && view.numel % int64_t(members) == 0, name,
                    " must be contiguous, of equal parts for ", members, " members, however: ",
                    described(view));
    count = view.numel / int64_t(members);
    bytes = count * (type == kFloat64 ? 8 : 4);
  }
  void* at(size_t member) const { return static_cast<char*>(view.data()) + int64_t(member) * bytes; }
  View view;
  Type type;
  int64_t count, bytes;
};

// Run one call a member, all of the same size.
void run(Kernel kernel, const std::vector<Call>& calls, int64_t count) {
  const int64_t members = int64_t(calls.size());
  if (members * count <= kGrain) {
    for (const Call& call : calls) kernel(call, 0, count);
    return;
  }
  const int64_t tiles = (count + kTile - 1) / kTile;
  torch::stable::parallel_for(0, members * tiles, kGrain / kTile, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t member = begin / tiles, first = begin % tiles;
      const int64_t last = end - begin < tiles - first ? first + end - begin : tiles;
      kernel(calls[size_t(member)], first * kTile, last == tiles ? count : last * kTile);
      begin += last - first;
    }
  });
}

void mlp_forward(
    Tensor x, Tensors weights, Tensors biases, Tensor rng, Numbers p, double alpha, double scale,
    Numbers a, Numbers b, Tensors out) {
  const size_t depth = out.size(), members = p.size();
  check_count("weights", weights.size(), depth);
  if (!biases.empty()) check_count("biases", biases.size(), depth);
  check_count("a", a.size(), members);
  check_count("b", b.size(), members);
  const View numbers(rng);
  STD_TORCH_CHECK(
      static_cast<ScalarType>(numbers.type) == ScalarType::Long && numbers.contiguous &&
          numbers.numel == int64_t(2 * members * depth),
      "rng must be contiguous int64 [", members, ", ", depth, ", 2], however: it is ",
      described(numbers));
  const auto* keys = static_cast<const uint64_t*>(numbers.data());
  std::vector<Call> calls(members);
  std::vector<Decisions> drawn(members);
  for (size_t layer = 0; layer < depth; ++layer) {
    multiply(layer == 0 ? x : out[layer - 1], weights[layer], out[layer]);
    const Part y(out[layer], "out", members);
    const int64_t columns = y.view.columns();
    void* added = nullptr;
    if (!biases.empty()) {
      const Part bias(biases[layer], "biases", members);
      STD_TORCH_CHECK(bias.count == columns && bias.type == y.type,
                      "biases must have a number for each unit, ", columns, ", however: ",
                      described(bias.view));
      added = bias.view.data();
    }
    for (size_t k = 0; k < members; ++k) {
      Call& call = calls[k];
      call = Call{};
      fill(call, y.type, {p[k], alpha, scale, a[k], b[k]});
      call.columns = added ? columns : y.count;
      call.x = call.out = {y.at(k), call.columns};
      if (added) call.bias = static_cast<char*>(added) + int64_t(k) * columns * (y.bytes / y.count);
      if (p[k] > 0.0) {
        drawn[k] = decisions_from(keys + 2 * (k * depth + layer), p[k]);
        call.decisions = &drawn[k];
      }
    }
    if (y.count) run(chosen->selu[y.type], calls, y.count);
  }
}

// grad_biases[k, unit] = the sum over rows of delta[k, row, unit].
void sum_rows(const Tensor& delta, const Tensor& grad_bias, size_t members) {
  const Part out(grad_bias, "grad_biases", members);
  const View d(delta);
  STD_TORCH_CHECK(d.dim >= 2 && d.type == out.view.type && d.columns() == out.count &&
                      d.numel == d.sizes[d.dim - 2] * d.columns() * int64_t(members),
                  "grad_biases must have a number for each unit of ", described(d), ", however: ",
                  described(out.view));
  const int64_t rows = d.sizes[d.dim - 2], columns = out.count;
  const int64_t width = out.bytes / (columns ? columns : 1);
  const auto sums = [&](size_t k) {
    const int64_t at = d.dim > 2 ? int64_t(k) * d.strides[0] * width : 0;
    return Sums{static_cast<const char*>(d.data()) + at, rows, d.strides[d.dim - 2],
                d.strides[d.dim - 1], out.at(k)};
  };
  const auto kernel = chosen->column_sums[out.type];
  if (d.numel <= kGrain) {
    for (size_t k = 0; k < members; ++k) kernel(sums(k), 0, columns);
  } else if (members > 1) {
    torch::stable::parallel_for(0, int64_t(members), 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) kernel(sums(size_t(k)), 0, columns);
    });
  } else {
    // Whole blocks, so that a sum does not depend on the number of threads.
    const int64_t blocks = (columns + kBlock - 1) / kBlock;
    const int64_t grain = 1 + kGrain / (rows * kBlock);
    torch::stable::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
      kernel(sums(0), begin * kBlock, end == blocks ? columns : end * kBlock);
    });
  }
}

void mlp_backward(
    Tensors belows, Tensors weights, double alpha, double scale, Numbers a, Numbers b,
    Tensors deltas, Tensors deltas_t, Tensors grad_weights, Tensors grad_biases) {
  const size_t layers = weights.size(), members = a.size();
  check_count("belows", belows.size(), layers);
  check_count("deltas", deltas.size(), layers);
  check_count("deltas_t", deltas_t.size(), layers);
  check_count("grad_weights", grad_weights.size(), layers);
  if (!grad_biases.empty()) check_count("grad_biases", grad_biases.size(), layers);
  check_count("b", b.size(), members);
  std::vector<Call> calls(members);
  for (size_t layer = layers; layer-- > 0;) {
    multiply(deltas_t[layer], belows[layer], grad_weights[layer]);
    if (!grad_biases.empty()) sum_rows(deltas[layer], grad_biases[layer], members);
    if (layer == 0) break;
    multiply(deltas[layer], weights[layer], deltas[layer - 1]);
    const Part y(belows[layer], "belows", members), grad(deltas[layer - 1], "deltas", members);
    check_like(y.view, "belows", grad.view, "deltas");
    for (size_t k = 0; k < members; ++k) {
      Call& call = calls[k];
      call = Call{};
      fill(call, y.type, {0.0, alpha, scale, a[k], b[k]});
      call.columns = y.count;
      call.x = {y.at(k), y.count};
      call.grad = call.out = {grad.at(k), y.count};
    }
    if (y.count) run(chosen->selu_grad_from_output[y.type], calls, y.count);
  }
}

void softmax_loss(Tensor z, Tensor target, double smoothing, Tensor grad, Tensor values) {
  const View outputs(z), wanted(target);
  STD_TORCH_CHECK(outputs.dim == 2 || outputs.dim == 3, "z must be (members, classes, rows) or "
                  "(classes, rows), however: it is ", described(outputs));
  const int64_t members = outputs.dim == 3 ? outputs.sizes[0] : 1;
  const int64_t classes = outputs.sizes[outputs.dim - 2], rows = outputs.columns();
  if (outputs.numel == 0) return;
  const Part from(z, "z", size_t(members)), to(grad, "grad", size_t(members));
  const Part found(values, "values", size_t(members));
  check_like(from.view, "z", to.view, "grad");
  STD_TORCH_CHECK(found.type == from.type && found.count == rows, "values must be a number for "
                  "each of ", rows, " rows, however: ", described(found.view));
  STD_TORCH_CHECK(
      static_cast<ScalarType>(wanted.type) == ScalarType::Long && wanted.dim == outputs.dim &&
          wanted.numel == members * rows && wanted.columns() == rows,
      "target must be int64, one for each row, however: it is ", described(wanted));
  for (int64_t k = 0; k < members; ++k) {
    Softmax call{from.at(size_t(k)), static_cast<const int64_t*>(wanted.data()), classes, rows,
                 wanted.strides[wanted.dim - 1], smoothing, to.at(size_t(k)), found.at(size_t(k))};
    if (wanted.dim == 3) call.target += k * wanted.strides[0];
    for (int64_t j = 0; j < rows; ++j) {
      const int64_t c = call.target[j * call.target_stride];
      STD_TORCH_CHECK(c >= 0 && c < classes, "target must be in [0, ", classes, "), however: ", c);
    }
    chosen->softmax[from.type](call);
  }
}

void adamw(
    Tensor parameters, Tensor gradients, Tensor means, Tensor squares, std::vector<int64_t> starts,
    std::vector<int64_t> lengths, Numbers rates, Numbers decays, double beta1, double beta2,
    double eps, int64_t step) {
  check_count("lengths", lengths.size(), starts.size());
  check_count("rates", rates.size(), starts.size());
  check_count("decays", decays.size(), starts.size());
  STD_TORCH_CHECK(step >= 1, "step must be at least 1, however: step=", step);
  const Part p(parameters, "parameters", 1), g(gradients, "gradients", 1);
  const Part m(means, "means", 1), v(squares, "squares", 1);
  check_like(p.view, "parameters", g.view, "gradients");
  check_like(p.view, "parameters", m.view, "means");
  check_like(p.view, "parameters", v.view, "squares");
  const auto kernel = chosen->adamw[p.type];
  const int64_t width = p.count ? p.bytes / p.count : 0;
  for (size_t k = 0; k < starts.size(); ++k) {
    const int64_t start = starts[k], length = lengths[k];
    STD_TORCH_CHECK(start >= 0 && length >= 0 && length <= p.count - start, "ranges must lie in ",
                    p.count, " parameters, however: one is ", length, " from ", start);
    const auto at = [&](const Part& part) {
      return static_cast<char*>(part.view.data()) + start * width;
    };
    AdamW call{at(p), at(g), at(m), at(v)};
    call.keep = 1.0 - rates[k] * decays[k];
    call.step = rates[k] / (1.0 - std::pow(beta1, double(step)));
    call.eps = eps;
    call.new_mean = 1.0 - beta1;
    call.old_square = beta2;
    call.new_square = 1.0 - beta2;
    call.correction = 1.0 / std::sqrt(1.0 - std::pow(beta2, double(step)));
    if (length <= kGrain) {
      kernel(call, 0, length);
    } else {
      torch::stable::parallel_for(
          0, length, kGrain, [&](int64_t begin, int64_t end) { kernel(call, begin, end); });
    }
  }
}

}  // namespace
}  // namespace selfnorm

STABLE_TORCH_LIBRARY_IMPL(selfnorm, CPU, m) {
  if (!selfnorm::chosen) return;
  m.impl("mlp_forward", TORCH_BOX(&selfnorm::mlp_forward));
  m.impl("mlp_backward", TORCH_BOX(&selfnorm::mlp_backward));
  m.impl("softmax_loss", TORCH_BOX(&selfnorm::softmax_loss));
  m.impl("adamw", TORCH_BOX(&selfnorm::adamw));
}
