// Vectors of floats, by GCC's own types: AVX-512, AVX2 and NEON from one source.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

static inline vec load(const float *p) { return *reinterpret_cast<const vec *>(p); }
static inline void store(float *p, vec v) { *reinterpret_cast<vec *>(p) = v; }
static inline vec all(float value) { return value - vec{}; }

// The first n lanes; the others are `rest`.
static inline vec load(const float *p, int64_t n, float rest) {
    if (n == LANES)
        return load(p);
    vec v = all(rest);
    std::memcpy(&v, p, n * sizeof(float));
    return v;
}

static inline void store(float *p, vec v, int64_t n) {
    if (n == LANES)
        store(p, v);
    else
        std::memcpy(p, &v, n * sizeof(float));
}
