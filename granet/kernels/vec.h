// Vectors of floats, by GCC's own types: AVX-512, AVX2 and NEON from one source; and of bf16, which are computed with in
// fp32. A 32-bit lane holds two bf16, so a vector of them becomes two of floats: those of even and of odd places.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int SUMS = 16; // vectors that a kernel sums up side by side, of 32 registers
#else
constexpr int SUMS = 8; // of 16
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t pairs __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
enum bf16 : uint16_t {};

static inline vec all(float value) { return value - vec{}; }
static inline uint32_t bits(float value) {
    uint32_t same;
    std::memcpy(&same, &value, sizeof same);
    return same;
}

// What one load brings: WIDTH numbers in PARTS vectors of floats.
template <class Number> struct Wide;
template <> struct Wide<float> {
    static constexpr int PARTS = 1, WIDTH = LANES;
    vec part[PARTS];
};
template <> struct Wide<bf16> {
    static constexpr int PARTS = 2, WIDTH = 2 * LANES;
    vec part[PARTS];
};

static inline Wide<float> load(const float *p) { return {*reinterpret_cast<const vec *>(p)}; }
static inline void store(float *p, const Wide<float> &v) { *reinterpret_cast<vec *>(p) = v.part[0]; }

static inline Wide<bf16> load(const bf16 *p) {
    pairs v = *reinterpret_cast<const pairs *>(p);
    return {(vec)(v << 16), (vec)(v & 0xffff0000u)};
}

// Rounded to the nearest, ties to even.
static inline pairs rounded(vec v) {
#if defined(__AVX512BF16__)
    return (pairs)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    pairs same = (pairs)v;
    return v == v ? (same + 0x7fffu + ((same >> 16) & 1u)) >> 16 : (same >> 16) | 0x40u;
#endif
}

static inline void store(bf16 *p, const Wide<bf16> &v) {
    *reinterpret_cast<pairs *>(p) = rounded(v.part[0]) | rounded(v.part[1]) << 16;
}

// The first n numbers; the others are `rest`.
template <class Number> static inline Wide<Number> load(const Number *p, int64_t n, float rest) {
    using W = Wide<Number>;
    if (n == W::WIDTH)
        return load(p);
    Number some[W::WIDTH] = {};
    std::memcpy(some, p, n * sizeof(Number));
    W v = load(some);
    for (int i = n; i < W::WIDTH; i++)
        v.part[i % W::PARTS][i / W::PARTS] = rest;
    return v;
}

template <class Number> static inline void store(Number *p, const Wide<Number> &v, int64_t n) {
    if (n == Wide<Number>::WIDTH)
        return store(p, v);
    Number some[Wide<Number>::WIDTH];
    store(some, v);
    std::memcpy(p, some, n * sizeof(Number));
}

// A number in all places, and sums of its products.
template <class Number> struct Factor;

template <> struct Factor<float> {
    vec value;
    explicit Factor(float number) : value(all(number)) {}
    void add_products(vec *sum, const float *p) const { sum[0] += value * load(p).part[0]; }
};

template <> struct Factor<bf16> {
#if defined(__AVX512BF16__) // a dot product of each pair with (number, 0) and with (0, number)
    __m512bh even, odd;
    explicit Factor(float number)
        : even((__m512bh)_mm512_set1_epi32(bits(number) >> 16)), odd((__m512bh)_mm512_set1_epi32(bits(number))) {}
    void add_products(vec *sum, const bf16 *p) const {
        __m512bh v = (__m512bh)_mm512_loadu_si512(p);
        sum[0] = (vec)_mm512_dpbf16_ps((__m512)sum[0], v, even);
        sum[1] = (vec)_mm512_dpbf16_ps((__m512)sum[1], v, odd);
    }
#else
    vec value;
    explicit Factor(float number) : value(all(number)) {}
    void add_products(vec *sum, const bf16 *p) const {
        Wide<bf16> v = load(p);
        sum[0] += value * v.part[0];
        sum[1] += value * v.part[1];
    }
#endif
};

// A number as its factor has it.
template <class Number> static inline float as(float number) { return number; }
template <> inline float as<bf16>(float number) { // its lower half is 0
    return ((vec)(rounded(all(number)) << 16))[0];
}

// Numbers of one load, to be multiplied place by place by those of others and summed up.
template <class Number> struct Places {
    const Number *start;
    explicit Places(const Number *p) : start(p) {}
    void add_products(vec &sum, const Number *p) const {
        Wide<Number> a = load(start), b = load(p);
        for (int i = 0; i < Wide<Number>::PARTS; i++)
            sum += a.part[i] * b.part[i];
    }
};
#if defined(__AVX512BF16__)
template <> struct Places<bf16> {
    __m512bh value;
    explicit Places(const bf16 *p) : value((__m512bh)_mm512_loadu_si512(p)) {}
    void add_products(vec &sum, const bf16 *p) const {
        sum = (vec)_mm512_dpbf16_ps((__m512)sum, value, (__m512bh)_mm512_loadu_si512(p));
    }
};
#endif

// Calls with a number of the type that a caller means.
template <class Call> static inline void with_numbers(int is_bf16, Call call) {
    if (is_bf16)
        call(bf16{});
    else
        call(0.0f);
}
