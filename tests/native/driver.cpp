// The kernels without torch: random calls against formulas in long double, one element at a time.
//
// Every buffer is as long as what it must hold, so that an address sanitiser sees any step beyond.
// The calls depend on the seed alone: the digest of the decisions, printed last, must be the same
// for every instruction set, compiler and processor.

#include "../../csrc/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

using namespace selfnorm;
using Wide = long double;

// ---- random numbers -----------------------------------------------------------------------------

static uint64_t state = 1;

static uint64_t draw() {  // SplitMix64 (Steele et al., OOPSLA 2014)
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static int64_t below(int64_t n) { return int64_t(draw() % uint64_t(n)); }
static bool one_in(int64_t n) { return below(n) == 0; }
static double uniform(double low, double high) {
  return low + (high - low) * double(draw() >> 11) * 0x1p-53;
}

// ---- types --------------------------------------------------------------------------------------

struct Format {
  int bytes, digits, least;  // size; digits of the significand; exponent of the least number
  int exponent_bits;
};
static const Format kFormats[kTypes] = {
    {8, 53, -1074, 11}, {4, 24, -149, 8}, {2, 8, -133, 8}, {2, 11, -24, 5}};

static uint64_t mask(int count) { return (uint64_t(1) << count) - 1; }

static Wide decode(const Format& f, uint64_t bits) {
  const int fraction_bits = f.digits - 1;
  const uint64_t fraction = bits & mask(fraction_bits);
  const int exponent = int(bits >> fraction_bits & mask(f.exponent_bits));
  const Wide sign = bits >> (8 * f.bytes - 1) ? -1 : 1;
  if (exponent == int(mask(f.exponent_bits))) return fraction ? Wide(NAN) : sign * Wide(INFINITY);
  const uint64_t whole = exponent ? fraction | uint64_t(1) << fraction_bits : fraction;
  return sign * std::ldexp(Wide(whole), f.least + (exponent ? exponent - 1 : 0));
}

static uint64_t encode(const Format& f, Wide value) {  // for numbers that the type can hold
  const uint64_t sign = uint64_t(std::signbit(value)) << (8 * f.bytes - 1);
  value = std::fabs(value);
  int exponent = 0;
  std::frexp(value, &exponent);
  const int shift = std::max(exponent - f.digits, f.least);
  const auto whole = uint64_t(std::nearbyint(std::ldexp(value, -shift)));
  return sign | (whole + (uint64_t(shift - f.least) << (f.digits - 1)));
}

static Wide largest(const Format& f) {
  const int top = f.least + int(mask(f.exponent_bits)) - 2;  // exponent of the last digit
  return std::ldexp(Wide(mask(f.digits)), top);
}

// The unit of the last place at a value.
static Wide unit(const Format& f, Wide value) {
  int exponent = 0;
  std::frexp(value, &exponent);
  return std::ldexp(Wide(1), std::max(exponent - f.digits, f.least));
}

// ---- decisions ----------------------------------------------------------------------------------

static void philox(uint32_t counter[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = uint64_t(counter[0]) * 0xD2511F53u;
    const uint64_t second = uint64_t(counter[2]) * 0xCD9E8D57u;
    const uint32_t next[4] = {uint32_t(second >> 32) ^ counter[1] ^ key0, uint32_t(second),
                              uint32_t(first >> 32) ^ counter[3] ^ key1, uint32_t(first)};
    std::memcpy(counter, next, sizeof(next));
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

static uint32_t half_word(const Decisions& d, int64_t index, uint32_t flag) {
  const uint64_t block = uint64_t(index) / 8;
  uint32_t counter[4] = {uint32_t(block), uint32_t(block >> 32), uint32_t(d.offset),
                         uint32_t(d.offset >> 32) ^ flag};
  philox(counter, uint32_t(d.key), uint32_t(d.key >> 32));
  const uint32_t word = counter[index % 8 / 2];
  return index % 2 ? word >> 16 : word & 0xffffu;
}

static bool dropped(const Decisions& d, int64_t index) {
  const uint32_t half = half_word(d, index, 0);
  if (half != d.upper) return half < d.upper;
  return half_word(d, index, 0x80000000u) < d.lower;
}

static Decisions random_decisions(int64_t numel) {
  Decisions d{draw(), draw(), 0, 0};
  if (one_in(4)) d.key = one_in(2) ? 0 : ~uint64_t(0);
  if (one_in(4)) d.offset = one_in(2) ? 0xffffffffu : ~uint64_t(0);
  // A probability of 0 or 1, any, or one that ties with an element of this call.
  const int64_t kind = below(4);
  d.upper = kind == 0 ? 0 : kind == 1 ? 65536 : uint32_t(below(65536));
  d.lower = kind < 2 ? 0 : uint32_t(below(65536));
  if (kind == 3) d.upper = half_word(d, below(numel), 0);
  return d;
}

// ---- a call and its check -----------------------------------------------------------------------

struct Matrix {
  std::vector<unsigned char> bytes;
  std::vector<unsigned char> before;
  int64_t rows, columns, stride;
  const Format* format;

  Matrix(const Format& f, int64_t r, int64_t c, int64_t s)
      : bytes(size_t(((r - 1) * s + c) * f.bytes)), rows(r), columns(c), stride(s), format(&f) {
    const Wide top = largest(f);
    for (int64_t k = 0; k * f.bytes < int64_t(bytes.size()); ++k) {
      uint64_t pattern = draw();  // any bits: huge and tiny numbers, infinities, NaN
      if (!one_in(8)) {
        const Wide value = one_in(4) ? uniform(-120, 5) : uniform(-4, 3);
        pattern = encode(f, std::fabs(value) <= top ? value : Wide(1));
      }
      std::memcpy(&bytes[size_t(k * f.bytes)], &pattern, size_t(f.bytes));
    }
    before = bytes;
  }
  Rows view() { return {bytes.data(), stride}; }
  Wide get(const std::vector<unsigned char>& from, int64_t k) const {
    uint64_t pattern = 0;
    std::memcpy(&pattern, &from[size_t(k * format->bytes)], size_t(format->bytes));
    return decode(*format, pattern);
  }
  Wide old(int64_t row, int64_t column) const { return get(before, row * stride + column); }
  Wide now(int64_t row, int64_t column) const { return get(bytes, row * stride + column); }
};

static uint64_t digest = 14695981039346656037u;  // FNV-1a
static int64_t checked = 0;

[[noreturn]] static void fail(
    const char* name, int op, int type, int64_t k, Wide z, Wide got, Wide want, Wide allowed) {
  std::printf("%s: operator %d, type %d, element %lld, z=%.17Lg: %.17Lg, wanted %.17Lg to %.3Lg\n",
              name, op, type, static_cast<long long>(k), z, got, want, allowed);
  std::exit(1);
}

static Wide rounded(const Format& f, Wide value) {
  return f.bytes == 8 ? Wide(double(value)) : Wide(float(value));
}

static void random_call(const Kernels& kernels) {
  const Type type = Type(below(kTypes));
  const int op = int(below(4));
  const Format& f = kFormats[type];
  const Format& wide = kFormats[type == kFloat64 ? kFloat64 : kFloat32];
  const int64_t columns = 1 + below(one_in(3) ? 12 : one_in(2) ? 300 : 2600);
  const int64_t rows = 1 + below(1 + (one_in(2) ? 300 : 3000) / columns);
  const int64_t numel = rows * columns;
  const bool strided = one_in(2);
  const auto stride = [&] { return columns + (strided ? below(4) : 0); };
  const bool graded = op == 1 || op == 2;

  Matrix x(f, rows, columns, stride()), grad(f, rows, columns, stride());
  Matrix fresh(f, rows, columns, stride());
  Matrix bias(wide, 1, columns, columns);
  Matrix& out = one_in(3) ? x : graded && one_in(2) ? grad : fresh;
  const Decisions d = random_decisions(numel);
  const bool added = op < 2 && one_in(2), drops = op == 3 || (op < 2 && one_in(2));

  Call call{};
  const double a = uniform(0.3, 1.2), scale = uniform(0.5, 2), alpha = uniform(0.5, 3);
  const double c = a * scale * alpha;
  call.x = x.view();
  if (graded) call.grad = grad.view();
  call.out = out.view();
  call.columns = columns;
  call.bias = added ? bias.bytes.data() : nullptr;
  call.decisions = drops ? &d : nullptr;
  call.a_scale = a * scale;
  call.c = double(rounded(wide, c));
  call.c_low = c - call.c;
  call.b = one_in(2) ? 0.0 : uniform(-1, 1);
  call.dropped = call.b - c;
  call.a = a;

  const Kernel* const operators[] = {
      kernels.selu, kernels.selu_grad, kernels.selu_grad_from_output, kernels.alpha_dropout};
  const Kernel kernel = operators[op][type];
  for (int64_t begin = 0; begin < numel;) {  // as threads would share it
    const int64_t end = begin + kTile * (1 + below(3));
    kernel(call, begin, end < numel ? end : numel);
    begin = end;
  }

  const Wide limit = largest(f), b = rounded(wide, call.b);
  const Wide value_dropped = rounded(wide, call.dropped);
  for (int64_t k = 0; k < numel; ++k) {
    const int64_t row = k / columns, column = k % columns;
    Wide z = x.old(row, column), g = grad.old(row, column);
    if (added) z = rounded(wide, z + bias.old(0, column));
    const bool drop = drops && dropped(d, k);
    digest = (digest ^ uint64_t(drop)) * 1099511628211u;
    Wide want = 0, error = 0;
    if (op == 0) {
      const Wide part = z > 0 ? Wide(call.a_scale) * z : Wide(c) * std::expm1(z);
      want = part + b;
      error = 2 * unit(wide, part) + (b == 0 ? 0 : 2 * unit(wide, b));
    } else if (op == 1) {
      const Wide slope = z > 0 ? Wide(call.a_scale) : z <= 0 ? Wide(c) * std::exp(z) : z;
      want = g * slope;
      error = 2 * unit(wide, slope) * std::fabs(g) + unit(wide, want);
      // Whether a slope is 0 or just not decides what an infinite gradient becomes.
      if (std::isinf(g) && slope < std::ldexp(Wide(1), wide.least + 1)) continue;
    } else if (op == 2) {
      const Wide above = rounded(wide, z - value_dropped);
      const Wide slope = z > b ? rounded(wide, call.a_scale) : above < 0 ? 0 : above;
      want = slope == 0 ? Wide(0) : g * slope;
      error = unit(wide, want);
    } else {
      const Wide part = rounded(wide, a) * z;
      want = part + b;
      error = unit(wide, part) + unit(wide, b) + unit(wide, want);
    }
    if (drop) want = op == 1 ? Wide(0) : value_dropped, error = 0;
    const Wide got = out.now(row, column);
    ++checked;
    if (std::isnan(want) != std::isnan(got)) fail(kernels.name, op, type, k, z, got, want, 0);
    if (std::isnan(want)) continue;
    error += f.bytes == 2 ? 0.5L * unit(f, want) : drop ? 0 : unit(f, want);
    if (std::isinf(got) || std::isinf(want)) {
      const bool fits = std::fabs(want) + error >= limit && std::signbit(got) == std::signbit(want);
      if (fits && (std::isinf(got) || std::fabs(got) == limit)) continue;
      fail(kernels.name, op, type, k, z, got, want, error);
    }
    if (!(std::fabs(got - want) <= error)) fail(kernels.name, op, type, k, z, got, want, error);
  }
  // Gaps between rows, and inputs that are not the result, stay as they were.
  for (Matrix* m : {&x, &grad, &fresh, &bias})
    for (size_t k = 0; k < m->bytes.size(); ++k) {
      const bool gap = int64_t(k) / m->format->bytes % m->stride >= m->columns;
      if ((m != &out || gap) && m->bytes[k] != m->before[k])
        fail(kernels.name, op, type, int64_t(k), 0, m->bytes[k], m->before[k], 0);
    }
}

// Decisions of elements beyond 2^32 blocks: rows of stride 0 lie in one place, whatever their number.
static void far_call(const Kernels& kernels) {
  std::vector<float> x(kTile, 1.0f), out(kTile);
  const Decisions d{draw(), draw(), 32768, 0};
  Call call{};
  call.x = {x.data(), 0};
  call.out = {out.data(), 0};
  call.columns = kTile;
  call.decisions = &d;
  call.a = 1.0;
  const int64_t begin = (int64_t(1) << 58) + kTile * below(int64_t(1) << 40);
  kernels.alpha_dropout[kFloat32](call, begin, begin + kTile);
  for (int64_t k = 0; k < kTile; ++k) {
    const bool drop = dropped(d, begin + k);
    if ((out[size_t(k)] == 0.0f) != drop)
      fail(kernels.name, 3, kFloat32, begin + k, 1, out[size_t(k)], drop ? 0 : 1, 0);
  }
}

static bool supported(const char* name) {
#if defined(SELFNORM_X86)
  __builtin_cpu_init();
  if (!std::strcmp(name, "avx2")) return __builtin_cpu_supports("avx2");
  if (!std::strcmp(name, "avx512")) return __builtin_cpu_supports("avx512vl");
#endif
  return !std::strcmp(name, "baseline");
}

int main(int count, char** arguments) {
  const int calls = count > 1 ? std::atoi(arguments[1]) : 3000;
  const Kernels* all[] = {
      &baseline::kernels(),
#if defined(SELFNORM_X86)
      &avx2::kernels(), &avx512::kernels(),
#endif
  };
  for (const Kernels* kernels : all) {
    if (!supported(kernels->name)) {
      std::printf("%s: not on this processor\n", kernels->name);
      continue;
    }
    state = 1;
    digest = 14695981039346656037u;
    checked = 0;
    for (int k = 0; k < calls; ++k) random_call(*kernels);
    for (int k = 0; k < 20; ++k) far_call(*kernels);
    std::printf("%s: %lld elements right, decisions %016llx\n", kernels->name,
                static_cast<long long>(checked), static_cast<unsigned long long>(digest));
  }
  return 0;
}
