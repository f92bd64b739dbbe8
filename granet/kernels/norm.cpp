// Batch normalisation of channels whose M numbers lie side by side: a channel stays in the cache while it is read again.

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "vec.h"

// Numbers that are summed up in fp32, before the sum goes to one in double: few lanes alone would round too often.
constexpr int64_t BLOCK = 4096;

template <class Number, class Term> static inline float block_sum(const Number *in, int64_t M, float rest, Term term) {
    using W = Wide<Number>;
    constexpr int P = W::PARTS;
    vec part[4] = {};
    int64_t i = 0;
    for (; i + 4 / P * W::WIDTH <= M; i += 4 / P * W::WIDTH)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            part[j] += term(load(in + i + j / P * W::WIDTH).part[j % P]);
    for (; i < M; i += W::WIDTH) {
        W some = load(in + i, std::min<int64_t>(W::WIDTH, M - i), rest);
        for (int j = 0; j < P; j++)
            part[j] += term(some.part[j]);
    }
    vec both = (part[0] + part[1]) + (part[2] + part[3]);
    float total = 0;
    for (int j = 0; j < LANES; j++)
        total += both[j];
    return total;
}

// The sum of a function of M numbers, always in the same order. The function of `rest` is 0.
template <class Number, class Term> static inline float sum(const Number *in, int64_t M, float rest, Term term) {
    double total = 0;
    for (int64_t i = 0; i < M; i += BLOCK)
        total += block_sum(in + i, std::min(BLOCK, M - i), rest, term);
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

template <class Number>
static inline void apply(const Number *in, Number *out, int64_t M, const Affine &affine, int relu) {
    using W = Wide<Number>;
    for (int64_t i = 0; i < M; i += W::WIDTH) {
        int64_t n = std::min<int64_t>(W::WIDTH, M - i);
        W value = load(in + i, n, 0.0f);
        for (vec &part : value.part) {
            part = affine(part);
            part = relu ? (part < 0.0f ? vec{} : part) : part; // NaN stays
        }
        store(out + i, value, n);
    }
}

// Statistics over each channel, and y = (x - mean) * scale * weight + bias; negative outputs are 0 with relu.
template <class Number>
static void forward(const Number *x, const float *weight, const float *bias, Number *y, float *mean, float *scale,
                    int64_t C, int64_t M, float eps, int relu, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t c = 0; c < C; c++) {
        const Number *in = x + c * M;
        float m = sum(in, M, 0.0f, [](vec v) { return v; }) / M;
        vec centre = all(m);
        float variance = sum(in, M, m, [&](vec v) { return (v - centre) * (v - centre); }) / M;
        mean[c] = m;
        scale[c] = 1 / std::sqrt(variance + eps);
        apply(in, y + c * M, M, Affine(m, scale[c], weight ? weight[c] : 1.0f, bias ? bias[c] : 0.0f), relu);
    }
}

// The same with given statistics.
template <class Number>
static void apply_all(const Number *x, const float *weight, const float *bias, const float *mean,
                      const float *variance, Number *y, int64_t C, int64_t M, float eps, int relu, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t c = 0; c < C; c++) {
        float scale = 1 / std::sqrt(variance[c] + eps);
        apply(x + c * M, y + c * M, M, Affine(mean[c], scale, weight ? weight[c] : 1.0f, bias ? bias[c] : 0.0f), relu);
    }
}

// What one channel's gradient has passed the ReLU, if there is one: the output is computed again, by the same operations.
template <class Number> struct Passed {
    Affine affine;
    int relu;
    void operator()(Wide<Number> &gradient, const Wide<Number> &in) const {
        for (int j = 0; relu && j < Wide<Number>::PARTS; j++)
            gradient.part[j] = affine(in.part[j]) > 0.0f ? gradient.part[j] : vec{};
    }
};

// Gradients of input, weight and bias.
template <class Number>
static void backward(const Number *x, const Number *gradient, const float *weight, const float *bias,
                     const float *mean, const float *scale, Number *of_x, float *of_weight, float *of_bias, int64_t C,
                     int64_t M, int relu, int threads) {
    using W = Wide<Number>;
    constexpr int P = W::PARTS, SIDE = 2 / P; // loads whose sums are side by side
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t c = 0; c < C; c++) {
        const Number *in = x + c * M, *g = gradient + c * M;
        vec centre = all(mean[c]);
        Passed<Number> passed{{mean[c], scale[c], weight ? weight[c] : 1.0f, bias ? bias[c] : 0.0f}, relu};
        double total = 0, product = 0;
        for (int64_t start = 0; start < M; start += BLOCK) {
            vec a[2] = {}, b[2] = {};
            auto add = [&](int64_t i, int64_t n, int side) {
                W value = load(g + i, n, 0.0f), source = load(in + i, n, mean[c]);
                passed(value, source);
                for (int j = 0; j < P; j++) {
                    a[side * P + j] += value.part[j];
                    b[side * P + j] += value.part[j] * (source.part[j] - centre);
                }
            };
            int64_t i = start, end = std::min(M, start + BLOCK);
            for (; i + SIDE * W::WIDTH <= end; i += SIDE * W::WIDTH)
#pragma GCC unroll 2
                for (int side = 0; side < SIDE; side++)
                    add(i + side * W::WIDTH, W::WIDTH, side);
            for (; i < end; i += W::WIDTH)
                add(i, std::min<int64_t>(W::WIDTH, end - i), 0);
            for (int j = 0; j < LANES; j++) {
                total += a[0][j] + a[1][j];
                product += b[0][j] + b[1][j];
            }
        }
        of_weight[c] = product * scale[c];
        of_bias[c] = total;
        float factor = scale[c] * (weight ? weight[c] : 1.0f);
        vec gain = all(factor), slope = all(-product * scale[c] * scale[c] / M * factor), shift = all(-total / M * factor);
        for (int64_t i = 0; i < M; i += W::WIDTH) {
            int64_t n = std::min<int64_t>(W::WIDTH, M - i);
            W value = load(g + i, n, 0.0f), source = load(in + i, n, 0.0f);
            passed(value, source);
            for (int j = 0; j < P; j++)
                value.part[j] = value.part[j] * gain + (source.part[j] - centre) * slope + shift;
            store(of_x + c * M + i, value, n);
        }
    }
}

extern "C" void granet_norm_forward(const void *x, const float *weight, const float *bias, void *y, float *mean,
                                    float *scale, int64_t C, int64_t M, float eps, int relu, int is_bf16, int threads) {
    with_numbers(is_bf16, [=](auto zero) {
        using Number = decltype(zero);
        forward(static_cast<const Number *>(x), weight, bias, static_cast<Number *>(y), mean, scale, C, M, eps, relu,
                threads);
    });
}

extern "C" void granet_norm_apply(const void *x, const float *weight, const float *bias, const float *mean,
                                  const float *variance, void *y, int64_t C, int64_t M, float eps, int relu,
                                  int is_bf16, int threads) {
    with_numbers(is_bf16, [=](auto zero) {
        using Number = decltype(zero);
        apply_all(static_cast<const Number *>(x), weight, bias, mean, variance, static_cast<Number *>(y), C, M, eps,
                  relu, threads);
    });
}

extern "C" void granet_norm_backward(const void *x, const void *gradient, const float *weight, const float *bias,
                                     const float *mean, const float *scale, void *of_x, float *of_weight,
                                     float *of_bias, int64_t C, int64_t M, int relu, int is_bf16, int threads) {
    with_numbers(is_bf16, [=](auto zero) {
        using Number = decltype(zero);
        backward(static_cast<const Number *>(x), static_cast<const Number *>(gradient), weight, bias, mean, scale,
                 static_cast<Number *>(of_x), of_weight, of_bias, C, M, relu, threads);
    });
}
