// Batch normalisation of channels whose M numbers lie side by side: a channel stays in the cache while it is read again.

#include <omp.h>

#include <cmath>
#include <cstdint>

#include "vec.h"

// The sum of a function of M places, by lanes; deterministic.
template <class Term> static inline float sum(int64_t M, Term term) {
    vec part[4] = {};
    int64_t i = 0;
    for (; i + 4 * LANES <= M; i += 4 * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            part[j] += term(i + j * LANES, LANES);
    for (; i + LANES <= M; i += LANES)
        part[0] += term(i, LANES);
    if (i < M)
        part[1] += term(i, M - i);
    vec both = (part[0] + part[1]) + (part[2] + part[3]);
    float total = 0;
    for (int j = 0; j < LANES; j++)
        total += both[j];
    return total;
}

// The normalised x times weight, plus bias.
struct Affine {
    vec gain, shift;
    Affine(float mean, float scale, float weight, float bias) {
        gain = all(scale * weight);
        shift = all(bias - mean * scale * weight);
    }
    vec operator()(vec x) const { return x * gain + shift; }
};

static inline void apply(const float *in, float *out, int64_t M, const Affine &affine, int relu) {
    for (int64_t i = 0; i < M; i += LANES) {
        int64_t n = M - i < LANES ? M - i : LANES;
        vec value = affine(load(in + i, n, 0.0f));
        store(out + i, relu ? (value > 0.0f ? value : vec{}) : value, n);
    }
}

// Statistics over each channel, and y = (x - mean) * scale * weight + bias; negative outputs are 0 with relu.
extern "C" void granet_norm_forward(const float *x, const float *weight, const float *bias, float *y, float *mean,
                                    float *scale, int64_t C, int64_t M, float eps, int relu, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t c = 0; c < C; c++) {
        const float *in = x + c * M;
        float *out = y + c * M;
        float m = sum(M, [&](int64_t i, int64_t n) { return load(in + i, n, 0.0f); }) / M;
        vec centre = all(m);
        float variance = sum(M, [&](int64_t i, int64_t n) {
                             vec d = load(in + i, n, m) - centre;
                             return d * d;
                         }) / M;
        mean[c] = m;
        scale[c] = 1 / std::sqrt(variance + eps);
        apply(in, out, M, Affine(m, scale[c], weight ? weight[c] : 1.0f, bias ? bias[c] : 0.0f), relu);
    }
}

// The same with given statistics.
extern "C" void granet_norm_apply(const float *x, const float *weight, const float *bias, const float *mean,
                                  const float *variance, float *y, int64_t C, int64_t M, float eps, int relu,
                                  int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t c = 0; c < C; c++) {
        float scale = 1 / std::sqrt(variance[c] + eps);
        apply(x + c * M, y + c * M, M, Affine(mean[c], scale, weight ? weight[c] : 1.0f, bias ? bias[c] : 0.0f), relu);
    }
}

// Gradients of input, weight and bias. With relu, the output is computed again, by the same operations.
extern "C" void granet_norm_backward(const float *x, const float *gradient, const float *weight, const float *bias,
                                     const float *mean, const float *scale, float *of_x, float *of_weight,
                                     float *of_bias, int64_t C, int64_t M, int relu, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t c = 0; c < C; c++) {
        const float *in = x + c * M, *g = gradient + c * M;
        vec centre = all(mean[c]);
        Affine affine(mean[c], scale[c], weight ? weight[c] : 1.0f, bias ? bias[c] : 0.0f);
        auto passed = [&](int64_t i, int64_t n) {
            vec value = load(g + i, n, 0.0f);
            return relu ? (affine(load(in + i, n, 0.0f)) > 0.0f ? value : vec{}) : value;
        };
        float total = 0, product = 0;
        {
            vec a[2] = {}, b[2] = {};
            int64_t i = 0;
            for (; i + 2 * LANES <= M; i += 2 * LANES)
#pragma GCC unroll 2
                for (int j = 0; j < 2; j++) {
                    vec value = passed(i + j * LANES, LANES);
                    a[j] += value;
                    b[j] += value * (load(in + i + j * LANES) - centre);
                }
            for (; i < M; i += LANES) {
                int64_t n = M - i < LANES ? M - i : LANES;
                vec value = passed(i, n);
                a[0] += value;
                b[0] += value * (load(in + i, n, mean[c]) - centre);
            }
            for (int j = 0; j < LANES; j++) {
                total += a[0][j] + a[1][j];
                product += b[0][j] + b[1][j];
            }
        }
        of_weight[c] = product * scale[c];
        of_bias[c] = total;
        float factor = scale[c] * (weight ? weight[c] : 1.0f);
        vec gain = all(factor), slope = all(-product * scale[c] * scale[c] / M * factor), shift = all(-total / M * factor);
        float *to = of_x + c * M;
        for (int64_t i = 0; i < M; i += LANES) {
            int64_t n = M - i < LANES ? M - i : LANES;
            store(to + i, passed(i, n) * gain + (load(in + i, n, 0.0f) - centre) * slope + shift, n);
        }
    }
}
