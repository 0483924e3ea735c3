// The loops, compiled once for each instruction set into a namespace of its own (SELFNORM_ISA).
//
// They are plain loops that the compiler turns into vector instructions: no branch but selections,
// no call, no conversion from floating point to integer (undefined for NaN). Nothing from the
// standard library is used, so that no inline function built for newer processors can be taken by
// the linker for all.

#include "kernels.h"

#include "arithmetic.h"
#include "decisions.h"
#include "updates.h"

namespace selfnorm {
namespace SELFNORM_ISA {
namespace {

// ---- tiles ------------------------------------------------------------------------------------

// A bias of fewer columns is repeated, so that a tile of many short rows is one loop.
constexpr int64_t kShort = 256;

template <class T>
SELFNORM_INLINE T* at(const Rows& rows, int64_t row, int64_t column) {
  return static_cast<T*>(rows.data) + row * rows.stride + column;
}

// Call body(row, column, offset in the tile, count) for each run that is contiguous everywhere.
template <class Body>
SELFNORM_INLINE void runs(
    const Call& call, bool flat, int64_t first, int count, const Body& body) {
  if (flat) {
    body(first / call.columns, first % call.columns, 0, count);
    return;
  }
  for (int done = 0; done < count;) {
    const int64_t row = (first + done) / call.columns, column = (first + done) % call.columns;
    const int64_t left = call.columns - column;
    const int length = left < count - done ? int(left) : count - done;
    body(row, column, done, length);
    done += length;
  }
}

// A run of a tensor in the type of computing: itself, or a copy of 16-bit numbers.
template <class T, class F = typename Computed<T>::Type>
struct Stage {
  alignas(64) F copy[kTile];
  SELFNORM_INLINE const F* read(const T* from, int count) {
    if (!from) return nullptr;
    SELFNORM_LOOP
    for (int j = 0; j < count; ++j) copy[j] = load(from[j]);
    return copy;
  }
  SELFNORM_INLINE F* open(T*) { return copy; }
  SELFNORM_INLINE void write(T* to, int count) const {
    SELFNORM_LOOP
    for (int j = 0; j < count; ++j) store(to[j], copy[j]);
  }
};
template <class F>
struct Stage<F, F> {
  SELFNORM_INLINE const F* read(const F* from, int) { return from; }
  SELFNORM_INLINE F* open(F* to) { return to; }
  SELFNORM_INLINE void write(F*, int) const {}
};

// Run `Loop::run<bias, drop>` over all tiles.
template <class Loop, class T>
void tiles(const Call& call, int64_t begin, int64_t end) {
  using F = typename Computed<T>::Type;
  alignas(64) uint8_t drop[kTile];
  alignas(64) F repeated[kShort + kTile];
  Stage<T> x_stage, grad_stage, out_stage;
  const bool dense = (!call.x.data || call.x.stride == call.columns) &&
                     (!call.grad.data || call.grad.stride == call.columns) &&
                     call.out.stride == call.columns;
  const F* bias = static_cast<const F*>(call.bias);
  const bool repeat = dense && bias && call.columns < kShort;
  if (repeat) {
    const int64_t needed = call.columns + (end - begin < kTile ? end - begin : kTile);
    // Whole copies, each as long as what is there already.
    int64_t filled = call.columns < needed ? call.columns : needed;
    copy_bytes(repeated, bias, size_t(filled) * sizeof(F));
    while (filled < needed) {
      const int64_t more = filled < needed - filled ? filled : needed - filled;
      copy_bytes(repeated + filled, repeated, size_t(more) * sizeof(F));
      filled += more;
    }
    bias = repeated;
  }
  const bool flat = dense && (!bias || repeat);
  for (int64_t first = begin; first < end; first += kTile) {
    const int count = end - first < kTile ? int(end - first) : int(kTile);
    if (call.decisions) decide(*call.decisions, first, count, drop);
    runs(call, flat, first, count, [&](int64_t row, int64_t column, int done, int length) {
      const F* x = x_stage.read(at<T>(call.x, row, column), length);
      const F* grad =
          grad_stage.read(call.grad.data ? at<T>(call.grad, row, column) : nullptr, length);
      T* to = at<T>(call.out, row, column);
      F* out = out_stage.open(to);
      const F* added = bias ? bias + column : nullptr;
      if (added) {
        if (call.decisions)
          Loop::template run<true, true>(call, x, grad, added, drop + done, length, out);
        else
          Loop::template run<true, false>(call, x, grad, added, drop + done, length, out);
      } else {
        if (call.decisions)
          Loop::template run<false, true>(call, x, grad, added, drop + done, length, out);
        else
          Loop::template run<false, false>(call, x, grad, added, drop + done, length, out);
      }
      out_stage.write(to, length);
    });
  }
}

// ---- the four operators -----------------------------------------------------------------------

struct Selu {
  template <bool kBias, bool kDrop, class F>
  static inline void run(
      const Call& call, const F* x, const F*, const F* bias, const uint8_t* drop, int count,
      F* out) {
    const F positive = F(call.a_scale), c = F(call.c), c_low = F(call.c_low);
    // Adding -0 changes nothing, adding +0 would lose the sign of -0.
    const F b = call.b == 0.0 ? -F(0) : F(call.b), dropped = F(call.dropped);
    SELFNORM_LOOP
    for (int j = 0; j < count; ++j) {
      F z = x[j];
      if (kBias) z += bias[j];
      const F t = expm1_negative<F>(z);
      const F left = scale_add(c, c_low, t, b);
      // At zero both sides agree, and positive z + b keeps the sign of -0.
      F y = z >= F(0) ? multiply_add(positive, z, b) : left;
      if (kDrop) y = drop[j] ? dropped : y;
      out[j] = y;
    }
  }
};

struct SeluGrad {
  template <bool kBias, bool kDrop, class F>
  static inline void run(
      const Call& call, const F* x, const F* grad, const F* bias, const uint8_t* drop, int count,
      F* out) {
    const F positive = F(call.a_scale), c = F(call.c), c_low = F(call.c_low);
    SELFNORM_LOOP
    for (int j = 0; j < count; ++j) {
      F z = x[j];
      if (kBias) z += bias[j];
      const F left = times_exp_negative<F>(z, c, c_low);
      F dx = grad[j] * (z > F(0) ? positive : left);
      if (kDrop) dx = drop[j] ? F(0) : dx;
      out[j] = dx;
    }
  }
};

struct SeluGradFromOutput {
  template <bool kBias, bool kDrop, class F>
  static inline void run(
      const Call& call, const F* y, const F* grad, const F*, const uint8_t*, int count, F* out) {
    const F positive = F(call.a_scale), b = F(call.b), dropped = F(call.dropped);
    SELFNORM_LOOP
    for (int j = 0; j < count; ++j) {
      const F value = y[j];
      const F above = value - dropped;
      const F left = above < F(0) ? F(0) : above;
      const F slope = value > b ? positive : left;
      const F dx = grad[j] * slope;
      out[j] = slope == F(0) ? F(0) : dx;
    }
  }
};

struct AlphaDropout {
  template <bool kBias, bool kDrop, class F>
  static inline void run(
      const Call& call, const F* x, const F*, const F*, const uint8_t* drop, int count, F* out) {
    const F a = F(call.a), b = call.b == 0.0 ? -F(0) : F(call.b), dropped = F(call.dropped);
    SELFNORM_LOOP
    for (int j = 0; j < count; ++j) {
      const F y = multiply_add(a, x[j], b);
      out[j] = drop[j] ? dropped : y;
    }
  }
};

#define SELFNORM_STRING_OF(name) #name
#define SELFNORM_STRING(name) SELFNORM_STRING_OF(name)
#define SELFNORM_EACH_TYPE(Loop) \
  {tiles<Loop, double>, tiles<Loop, float>, tiles<Loop, BFloat16>, tiles<Loop, Float16>}

}  // namespace

const Kernels& kernels() {
  static const Kernels found = {
      SELFNORM_STRING(SELFNORM_ISA),
      SELFNORM_EACH_TYPE(Selu),
      SELFNORM_EACH_TYPE(SeluGrad),
      SELFNORM_EACH_TYPE(SeluGradFromOutput),
      SELFNORM_EACH_TYPE(AlphaDropout),
      {adamw<double>, adamw<float>},
      {column_sums<double>, column_sums<float>},
      {softmax<double>, softmax<float>},
  };
  return found;
}

}  // namespace SELFNORM_ISA
}  // namespace selfnorm
