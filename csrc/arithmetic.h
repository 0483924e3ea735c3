// exp and expm1 of negative numbers, products to twice the digits, 16-bit numbers: for any vector.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "polynomials.h"

#if defined(_MSC_VER)
#include <string.h>
#endif

#if defined(__clang__)
#define SELFNORM_LOOP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define SELFNORM_LOOP _Pragma("GCC ivdep")
#elif defined(_MSC_VER)
#define SELFNORM_LOOP __pragma(loop(ivdep))
#else
#define SELFNORM_LOOP
#endif

#if defined(_MSC_VER)
#define SELFNORM_INLINE __forceinline
#else
#define SELFNORM_INLINE inline __attribute__((always_inline))
#endif

namespace selfnorm {
namespace SELFNORM_ISA {
namespace {

SELFNORM_INLINE void copy_bytes(void* to, const void* from, size_t size) {
#if defined(_MSC_VER)
  memcpy(to, from, size);
#else
  __builtin_memcpy(to, from, size);
#endif
}

template <class To, class From>
SELFNORM_INLINE To bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "bits are kept");
  To result;
  copy_bytes(&result, &value, sizeof(To));
  return result;
}

// ---- arithmetic -------------------------------------------------------------------------------

SELFNORM_INLINE float multiply_add(float x, float y, float z) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(x, y, z);
#else
  return x * y + z;
#endif
}

SELFNORM_INLINE double multiply_add(double x, double y, double z) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(x, y, z);
#else
  return x * y + z;
#endif
}

// (c + c_low) t + b; c + c_low is a constant to twice the digits.
SELFNORM_INLINE float scale_add(float c, float c_low, float t, float b) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return multiply_add(c, t, multiply_add(c_low, t, b));
#else
  return float((double(c) + double(c_low)) * double(t) + double(b));
#endif
}

SELFNORM_INLINE double scale_add(double c, double c_low, double t, double b) {
  return multiply_add(c, t, multiply_add(c_low, t, b));
}

template <class F>
struct Exponential;

template <>
struct Exponential<float> {
  using Bits = uint32_t;
  static constexpr int kFraction = 23;
  static constexpr Bits kOne = 0x3f800000u;
  static constexpr float kRound = 12582912.0f;  // 1.5 2^23: adding it rounds to an integer
  static constexpr float kLog2e = 1.44269504f;
  static constexpr float kLog2High = 0.693145752f;     // 15 bits, so that n times it is exact
  static constexpr float kLog2Low = 1.42860677e-6f;    // log(2) - kLog2High
  static constexpr float kExpm1Floor = -80.0f;         // exp is far below half a bit of 1
  static constexpr float kExpFloor = -104.5f;          // exp rounds to 0
  static SELFNORM_INLINE float q(float r) {
    float sum = 0.0f;
#define SELFNORM_STEP(coefficient) sum = multiply_add(sum, r, coefficient);
    SELFNORM_Q_FLOAT(SELFNORM_STEP)
    return sum;
  }
};

template <>
struct Exponential<double> {
  using Bits = uint64_t;
  static constexpr int kFraction = 52;
  static constexpr Bits kOne = 0x3ff0000000000000u;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 2^52
  static constexpr double kLog2e = 1.4426950408889634;
  static constexpr double kLog2High = 0.69314718036912382;    // 32 bits
  static constexpr double kLog2Low = 1.9082149292705877e-10;  // log(2) - kLog2High
  static constexpr double kExpm1Floor = -700.0;
  static constexpr double kExpFloor = -746.0;
  static SELFNORM_INLINE double q(double r) {
    double sum = 0.0;
    SELFNORM_Q_DOUBLE(SELFNORM_STEP)
#undef SELFNORM_STEP
    return sum;
  }
};

// z = n log 2 + r; `shifted` holds n in its low bits, `rest` is exp(r) - 1.
template <class F>
struct Reduced {
  typename Exponential<F>::Bits shifted;
  F rest;
};

template <class F>
SELFNORM_INLINE Reduced<F> reduce(F z, F floor) {
  using E = Exponential<F>;
  // NaN is not below the floor and goes on. What becomes of z > 0 is never used.
  z = floor > z ? floor : z;
  const F shifted = multiply_add(z, E::kLog2e, E::kRound);
  const F n = shifted - E::kRound;
  F r = multiply_add(n, -E::kLog2High, z);
  r = multiply_add(n, -E::kLog2Low, r);
  return {bits<typename E::Bits>(shifted), multiply_add(r * r, E::q(r), r)};
}

// exp(z) - 1 for z <= 0.
template <class F>
SELFNORM_INLINE F expm1_negative(F z) {
  using E = Exponential<F>;
  const Reduced<F> reduced = reduce<F>(z, E::kExpm1Floor);
  const F power = bits<F>((reduced.shifted << E::kFraction) + E::kOne);
  return multiply_add(power, reduced.rest, power - F(1));
}

// (c + c_low) exp(z) for z <= 0, down to subnormal results: the power of 2 is multiplied in halves.
template <class F>
SELFNORM_INLINE F times_exp_negative(F z, F c, F c_low) {
  using E = Exponential<F>;
  using Bits = typename E::Bits;
  const Reduced<F> reduced = reduce<F>(z, E::kExpFloor);
  // -n, in 0 to 1100, from the two's complement in the low bits.
  const Bits minus_n = bits<Bits>(E::kRound) - reduced.shifted;
  const Bits half = (minus_n >> 1) & 1023;
  const Bits rest = (minus_n - half) & 1023;
  const F first = bits<F>(E::kOne - (half << E::kFraction));
  const F second = bits<F>(E::kOne - (rest << E::kFraction));
  const F e = F(1) + reduced.rest;
  return scale_add(c, c_low, e, F(0)) * first * second;
}

// ---- types of storage -------------------------------------------------------------------------

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <class T>
struct Computed {
  using Type = float;
};
template <>
struct Computed<double> {
  using Type = double;
};

SELFNORM_INLINE float load(BFloat16 value) { return bits<float>(uint32_t(value.bits) << 16); }

SELFNORM_INLINE float load(Float16 value) {
  const uint32_t magnitude = uint32_t(value.bits & 0x7fffu) << 13;
  const uint32_t sign = uint32_t(value.bits & 0x8000u) << 16;
  // As the bits of a float the number is too small by 2^112, exactly, subnormal numbers included.
  const float scaled = bits<float>(magnitude) * 0x1p112f;
  // Infinity and NaN have all bits of the exponent.
  const uint32_t special = magnitude | 0x7f800000u;
  return bits<float>(sign | ((value.bits & 0x7c00u) == 0x7c00u ? special : bits<uint32_t>(scaled)));
}

SELFNORM_INLINE void store(BFloat16& to, float value) {
  const uint32_t u = bits<uint32_t>(value);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  to.bits = uint16_t((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
}

SELFNORM_INLINE void store(Float16& to, float value) {
  const uint32_t u = bits<uint32_t>(value);
  const uint32_t sign = (u >> 16) & 0x8000u;
  const uint32_t magnitude = u & 0x7fffffffu;
  // Normal results: the exponent is moved by 112, half of the last kept bit added, ties to even.
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Subnormal results, below 2^-14: adding 0.5 rounds to multiples of 2^-24.
  const uint32_t subnormal = bits<uint32_t>(bits<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
  result = magnitude >= 0x47800000u ? 0x7c00u : result;  // 2^16 and more
  result = magnitude > 0x7f800000u ? 0x7e00u : result;
  to.bits = uint16_t(sign | result);
}

}  // namespace
}  // namespace SELFNORM_ISA
}  // namespace selfnorm
