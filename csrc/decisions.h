// Random decisions by counter: what _reference.drop_mask states, many blocks at once.
#pragma once

#include "arithmetic.h"
#include "kernels.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "half-words are stored low ones first: the decisions would differ; build without kernels"
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace selfnorm {
namespace SELFNORM_ISA {
namespace {

// Vectors of 64-bit lanes, each with one block's word in its lower half; what is above it does not
// matter. `widen` multiplies lower halves to 64 bits: no loop on integers becomes this instruction.
#if defined(__AVX512F__)
struct Lanes {
  static constexpr int kWidth = 8, kGroups = 4;
  __m512i v;
  static SELFNORM_INLINE Lanes all(uint64_t x) { return {_mm512_set1_epi64(int64_t(x))}; }
  static SELFNORM_INLINE Lanes load(const uint64_t* x) { return {_mm512_loadu_si512(x)}; }
  SELFNORM_INLINE void store(void* to) const { _mm512_storeu_si512(to, v); }
  SELFNORM_INLINE Lanes plus(Lanes x) const { return {_mm512_add_epi64(v, x.v)}; }
  SELFNORM_INLINE Lanes widen(Lanes x) const { return {_mm512_mul_epu32(v, x.v)}; }
  SELFNORM_INLINE Lanes high() const { return {_mm512_srli_epi64(v, 32)}; }
  static SELFNORM_INLINE Lanes exclusive_or(Lanes x, Lanes y, Lanes z) {
    return {_mm512_ternarylogic_epi64(x.v, y.v, z.v, 0x96)};
  }
  SELFNORM_INLINE Lanes below(Lanes x) const {
    return {_mm512_mask_blend_epi32(0xaaaa, v, _mm512_slli_epi64(x.v, 32))};
  }
  SELFNORM_INLINE Lanes even(Lanes x) const { return {_mm512_unpacklo_epi64(v, x.v)}; }
  SELFNORM_INLINE Lanes odd(Lanes x) const { return {_mm512_unpackhi_epi64(v, x.v)}; }
};
#elif defined(__AVX2__)
struct Lanes {
  static constexpr int kWidth = 4, kGroups = 2;
  __m256i v;
  static SELFNORM_INLINE Lanes all(uint64_t x) { return {_mm256_set1_epi64x(int64_t(x))}; }
  static SELFNORM_INLINE Lanes load(const uint64_t* x) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))};
  }
  SELFNORM_INLINE void store(void* to) const {
    _mm256_storeu_si256(static_cast<__m256i*>(to), v);
  }
  SELFNORM_INLINE Lanes plus(Lanes x) const { return {_mm256_add_epi64(v, x.v)}; }
  SELFNORM_INLINE Lanes widen(Lanes x) const { return {_mm256_mul_epu32(v, x.v)}; }
  SELFNORM_INLINE Lanes high() const { return {_mm256_srli_epi64(v, 32)}; }
  static SELFNORM_INLINE Lanes exclusive_or(Lanes x, Lanes y, Lanes z) {
    return {_mm256_xor_si256(x.v, _mm256_xor_si256(y.v, z.v))};
  }
  SELFNORM_INLINE Lanes below(Lanes x) const {
    return {_mm256_blend_epi32(v, _mm256_slli_epi64(x.v, 32), 0xaa)};
  }
  SELFNORM_INLINE Lanes even(Lanes x) const { return {_mm256_unpacklo_epi64(v, x.v)}; }
  SELFNORM_INLINE Lanes odd(Lanes x) const { return {_mm256_unpackhi_epi64(v, x.v)}; }
};
#elif defined(__SSE2__) || defined(_M_X64)
struct Lanes {
  static constexpr int kWidth = 2, kGroups = 2;
  __m128i v;
  static SELFNORM_INLINE Lanes all(uint64_t x) { return {_mm_set1_epi64x(int64_t(x))}; }
  static SELFNORM_INLINE Lanes load(const uint64_t* x) {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))};
  }
  SELFNORM_INLINE void store(void* to) const { _mm_storeu_si128(static_cast<__m128i*>(to), v); }
  SELFNORM_INLINE Lanes plus(Lanes x) const { return {_mm_add_epi64(v, x.v)}; }
  SELFNORM_INLINE Lanes widen(Lanes x) const { return {_mm_mul_epu32(v, x.v)}; }
  SELFNORM_INLINE Lanes high() const { return {_mm_srli_epi64(v, 32)}; }
  static SELFNORM_INLINE Lanes exclusive_or(Lanes x, Lanes y, Lanes z) {
    return {_mm_xor_si128(x.v, _mm_xor_si128(y.v, z.v))};
  }
  SELFNORM_INLINE Lanes below(Lanes x) const {
    const __m128i low = _mm_set1_epi64x(0xffffffff);
    return {_mm_or_si128(_mm_and_si128(v, low), _mm_slli_epi64(x.v, 32))};
  }
  SELFNORM_INLINE Lanes even(Lanes x) const { return {_mm_unpacklo_epi64(v, x.v)}; }
  SELFNORM_INLINE Lanes odd(Lanes x) const { return {_mm_unpackhi_epi64(v, x.v)}; }
};
#elif defined(__ARM_NEON) && defined(__aarch64__)
struct Lanes {
  static constexpr int kWidth = 2, kGroups = 2;
  uint64x2_t v;
  static SELFNORM_INLINE Lanes all(uint64_t x) { return {vdupq_n_u64(x)}; }
  static SELFNORM_INLINE Lanes load(const uint64_t* x) { return {vld1q_u64(x)}; }
  SELFNORM_INLINE void store(void* to) const {
    vst1q_u8(static_cast<uint8_t*>(to), vreinterpretq_u8_u64(v));
  }
  SELFNORM_INLINE Lanes plus(Lanes x) const { return {vaddq_u64(v, x.v)}; }
  SELFNORM_INLINE Lanes widen(Lanes x) const {
    return {vmull_u32(vmovn_u64(v), vmovn_u64(x.v))};
  }
  SELFNORM_INLINE Lanes high() const { return {vshrq_n_u64(v, 32)}; }
  static SELFNORM_INLINE Lanes exclusive_or(Lanes x, Lanes y, Lanes z) {
    return {veorq_u64(x.v, veorq_u64(y.v, z.v))};
  }
  SELFNORM_INLINE Lanes below(Lanes x) const { return {vsliq_n_u64(v, x.v, 32)}; }
  SELFNORM_INLINE Lanes even(Lanes x) const { return {vzip1q_u64(v, x.v)}; }
  SELFNORM_INLINE Lanes odd(Lanes x) const { return {vzip2q_u64(v, x.v)}; }
};
#else
struct Lanes {
  static constexpr int kWidth = 2, kGroups = 2;
  uint64_t v[2];
  static SELFNORM_INLINE Lanes all(uint64_t x) { return {{x, x}}; }
  static SELFNORM_INLINE Lanes load(const uint64_t* x) { return {{x[0], x[1]}}; }
  SELFNORM_INLINE void store(void* to) const { copy_bytes(to, v, sizeof(v)); }
  SELFNORM_INLINE Lanes plus(Lanes x) const { return {{v[0] + x.v[0], v[1] + x.v[1]}}; }
  SELFNORM_INLINE Lanes widen(Lanes x) const {
    return {{uint64_t(uint32_t(v[0])) * uint32_t(x.v[0]),
             uint64_t(uint32_t(v[1])) * uint32_t(x.v[1])}};
  }
  SELFNORM_INLINE Lanes high() const { return {{v[0] >> 32, v[1] >> 32}}; }
  static SELFNORM_INLINE Lanes exclusive_or(Lanes x, Lanes y, Lanes z) {
    return {{x.v[0] ^ y.v[0] ^ z.v[0], x.v[1] ^ y.v[1] ^ z.v[1]}};
  }
  SELFNORM_INLINE Lanes below(Lanes x) const {
    return {{uint32_t(v[0]) | x.v[0] << 32, uint32_t(v[1]) | x.v[1] << 32}};
  }
  SELFNORM_INLINE Lanes even(Lanes x) const { return {{v[0], x.v[0]}}; }
  SELFNORM_INLINE Lanes odd(Lanes x) const { return {{v[1], x.v[1]}}; }
};
#endif

// The blocks that are drawn at once: several vectors, since each round waits for the one before.
constexpr int kBlocks = Lanes::kWidth * Lanes::kGroups;

// Half-words of Philox4x32 with ten rounds (Salmon et al., SC 2011) for blocks first, first + 1, …,
// up to a multiple of kBlocks; `out` has room for it.
SELFNORM_INLINE void half_words(
    const Decisions& d, uint64_t first, int blocks, uint32_t flag, uint16_t* out) {
  constexpr int kWidth = Lanes::kWidth, kGroups = Lanes::kGroups, kHalf = kWidth / 2;
  uint64_t keys[20], order[kWidth];
  for (uint32_t round = 0; round < 10; ++round) {
    keys[2 * round] = uint32_t(d.key) + round * 0x9E3779B9u;
    keys[2 * round + 1] = uint32_t(d.key >> 32) + round * 0xBB67AE85u;
  }
  // Lanes are ordered such that their even ones, then their odd ones, count the blocks.
  for (int lane = 0; lane < kWidth; ++lane)
    order[lane] = first + uint64_t(lane / 2 + (lane % 2) * kHalf);
  const Lanes multiplier0 = Lanes::all(0xD2511F53u), multiplier1 = Lanes::all(0xCD9E8D57u);
  const Lanes offset_low = Lanes::all(d.offset);
  const Lanes offset_high = Lanes::all((d.offset >> 32) ^ flag);
  const Lanes step = Lanes::all(kWidth);
  Lanes block = Lanes::load(order);
  for (int j = 0; j < blocks; j += kBlocks) {
    Lanes c0[kGroups], c1[kGroups], c2[kGroups], c3[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      c0[g] = block;
      c1[g] = block.high();
      c2[g] = offset_low;
      c3[g] = offset_high;
      block = block.plus(step);
    }
    for (int round = 0; round < 10; ++round) {
      const Lanes key0 = Lanes::all(keys[2 * round]), key1 = Lanes::all(keys[2 * round + 1]);
      for (int g = 0; g < kGroups; ++g) {
        const Lanes product0 = c0[g].widen(multiplier0), product1 = c2[g].widen(multiplier1);
        c0[g] = Lanes::exclusive_or(product1.high(), c1[g], key0);
        c2[g] = Lanes::exclusive_or(product0.high(), c3[g], key1);
        c1[g] = product1;
        c3[g] = product0;
      }
    }
    for (int g = 0; g < kGroups; ++g) {
      const Lanes low = c0[g].below(c1[g]), high = c2[g].below(c3[g]);
      uint16_t* to = out + 8 * (j + g * kWidth);
      low.even(high).store(to);
      low.odd(high).store(to + 8 * kHalf);
    }
  }
}

// Write 1 where element first + j is dropped, else 0, for j < count; first is a multiple of 8.
static void decide(const Decisions& d, int64_t first, int count, uint8_t* drop) {
  alignas(64) uint16_t half[kTile];
  if (d.upper > 0xffffu) {
    for (int j = 0; j < count; ++j) drop[j] = 1;
    return;
  }
  const uint64_t block = uint64_t(first) / 8;
  const int blocks = (count + 7) / 8;
  half_words(d, block, blocks, 0, half);
  const uint16_t upper = uint16_t(d.upper);
  uint16_t ties = 0;
  SELFNORM_LOOP
  for (int j = 0; j < 8 * blocks; ++j) {
    drop[j] = half[j] < upper;
    ties |= uint16_t(half[j] == upper);
  }
  if (ties == 0 || d.lower == 0) return;
  alignas(64) uint16_t second[8 * kBlocks];
  for (int j = 0; j < count; ++j) {
    if (half[j] != upper) continue;
    half_words(d, block + uint64_t(j / 8), 1, 0x80000000u, second);
    drop[j] = second[j % 8] < d.lower;
  }
}

}  // namespace
}  // namespace SELFNORM_ISA
}  // namespace selfnorm
