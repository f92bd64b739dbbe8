// A convolution by its active weights: each is one number times up to SUMS vectors that stay in registers.

#include <omp.h>

#include <limits>

#include "tiles.h"

// R rows of S vectors of one output: where they are read and written, and what they start from. Between two chunks of
// the input their sums lie in `put_down`, in fp32.
template <class Number> struct Target {
    const Number *in;
    int64_t in_pitch;
    Number *out;
    int64_t out_pitch;
    float *put_down;
    int64_t put_down_pitch;
    const int64_t *place;
    const int *count;
    bool whole, first, last;
    float bias, lowest; // lowest: what outputs are at least
};

template <class Number, int R, int S> static void micro(const Item *item, const Item *end, const Target<Number> &t) {
    using W = Wide<Number>;
    constexpr int P = W::PARTS;
    vec sum[R * S * P];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 16
        for (int i = 0; i < S * P; i++)
            sum[r * S * P + i] = t.first ? all(t.bias) : load(t.put_down + r * t.put_down_pitch + i * LANES).part[0];
    for (; item < end; item++) {
        const Number *p = t.in + item->offset;
        Factor<Number> factor(item->value);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 16
            for (int v = 0; v < S; v++)
                factor.add_products(&sum[(r * S + v) * P], p + r * t.in_pitch + v * W::WIDTH);
    }
    if (!t.last) {
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 16
            for (int i = 0; i < S * P; i++)
                store(t.put_down + r * t.put_down_pitch + i * LANES, {sum[r * S * P + i]});
        return;
    }
    vec lowest = all(t.lowest);
#pragma GCC unroll 16
    for (int i = 0; i < R * S; i++) {
        Number *to = t.out + i / S * t.out_pitch + t.place[i % S];
        W value;
#pragma GCC unroll 2
        for (int j = 0; j < P; j++)
            value.part[j] = sum[i * P + j] < lowest ? lowest : sum[i * P + j]; // NaN stays
        if (t.whole)
            store(to, value);
        else
            store(to, value, t.count[i % S]);
    }
}

template <class Number> struct Piece { // of a tile: what one call of a kernel computes
    void (*kernel)(const Item *, const Item *, const Target<Number> &);
    int64_t row, vector;
};

template <class Number> static std::vector<Piece<Number>> pieces(int64_t rows, int64_t vectors) {
    constexpr int MOST = SUMS / Wide<Number>::PARTS;
    std::vector<Piece<Number>> made;
    int64_t R, S;
    for (int64_t v = 0; v < vectors; v += S) {
        for (S = 1; S * 2 <= vectors - v && S * 2 <= MOST;)
            S *= 2;
        for (int64_t r = 0; r < rows; r += R) {
            for (R = 1; R * 2 <= rows - r && R * 2 * S <= MOST;)
                R *= 2;
            switch (R * 32 + S) {
#define KERNEL(r_, s_)                                                                                                 \
    case r_ * 32 + s_:                                                                                                 \
        if constexpr (r_ * s_ <= MOST)                                                                                 \
            made.push_back({micro<Number, r_, s_>, r, v});                                                             \
        break;
                KERNEL(1, 1) KERNEL(2, 1) KERNEL(4, 1) KERNEL(8, 1) KERNEL(16, 1)
                KERNEL(1, 2) KERNEL(2, 2) KERNEL(4, 2) KERNEL(8, 2)
                KERNEL(1, 4) KERNEL(2, 4) KERNEL(4, 4)
                KERNEL(1, 8) KERNEL(2, 8)
                KERNEL(1, 16)
#undef KERNEL
            }
        }
    }
    return made;
}

template <class Number> static Plan plan_for(const Shape &s, const Lists &lists, const float *weight, int threads) {
    return Plan(s, lists, Wide<Number>::WIDTH, sizeof(Number), SUMS, threads,
                [&](int32_t place) { return as<Number>(weight[place]); });
}

// y = convolution of x with the active weights, + bias where there is one; negative outputs are 0 with relu.
template <class Number>
static void forward(const Number *x, const float *bias, Number *y, const Shape &s, const Plan &plan, int relu,
                    int threads) {
    constexpr int WIDTH = Wide<Number>::WIDTH;
    const Tiling &t = plan.tiling;
#pragma omp parallel num_threads(threads)
    {
        Buffer<Number> buffer(t.size()), line(t.flat ? (t.rows + 1) * t.pitch() + WIDTH : 0);
        int64_t row = t.vectors(t.numbers(t.columns)) * WIDTH;
        Buffer<float> put_down(t.num_chunks > 1 ? s.O * t.rows * row : 0);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < t.tasks(); task++) {
            Tile tile(s, t, task);
            std::vector<Piece<Number>> parts = pieces<Number>(tile.lines, tile.vectors);
            for (int64_t chunk = 0; chunk < t.num_chunks; chunk++) {
                int64_t c0 = chunk * t.chunk, c1 = std::min(s.C, c0 + t.chunk);
                bool last = chunk + 1 == t.num_chunks;
                pack(x, buffer.start, s, t, tile, c0, c1, plan.used);
                for (int64_t o = 0; o < s.O; o++) {
                    const int32_t *cut = plan.cut(o, chunk);
                    if (cut[0] == cut[1] && chunk > 0 && !last)
                        continue;
                    Number *out = y + o * tile.plane + tile.start;
                    for (const Piece<Number> &part : parts)
                        part.kernel(&plan.items[cut[0]], &plan.items[cut[1]],
                                    {buffer.start + part.row * t.pitch() + part.vector * WIDTH, t.pitch(),
                                     t.flat ? line.start : out + part.row * tile.row_pitch, tile.row_pitch,
                                     put_down.start + (o * t.rows + part.row) * row + part.vector * WIDTH, row,
                                     &tile.place[part.vector], &tile.count[part.vector], tile.whole, chunk == 0, last,
                                     bias ? bias[o] : 0.0f,
                                     relu ? 0.0f : -std::numeric_limits<float>::infinity()});
                    for (int64_t r = 0; t.flat && last && r < tile.rows; r++)
                        std::memcpy(out + r * tile.row_pitch, line.start + r * t.pitch(),
                                    t.numbers(tile.columns) * sizeof(Number));
                }
            }
        }
    }
}

extern "C" void granet_forward(const void *x, const float *weight, const float *bias, void *y, const Shape *shape,
                               const Lists *lists, int relu, int is_bf16, int threads) {
    with_numbers(is_bf16, [=](auto zero) {
        using Number = decltype(zero);
        Plan plan = plan_for<Number>(*shape, *lists, weight, threads);
        forward(static_cast<const Number *>(x), bias, static_cast<Number *>(y), *shape, plan, relu, threads);
    });
}

// The same for weights that stay as they are: a plan that is made once, for inputs of one shape and type.
extern "C" Plan *granet_plan(const float *weight, const Shape *shape, const Lists *lists, int is_bf16, int threads) {
    return is_bf16 ? new Plan(plan_for<bf16>(*shape, *lists, weight, threads))
                   : new Plan(plan_for<float>(*shape, *lists, weight, threads));
}

extern "C" void granet_forward_planned(const Plan *plan, const void *x, const float *bias, void *y, const Shape *shape,
                                       int relu, int is_bf16, int threads) {
    with_numbers(is_bf16, [=](auto zero) {
        using Number = decltype(zero);
        forward(static_cast<const Number *>(x), bias, static_cast<Number *>(y), *shape, *plan, relu, threads);
    });
}

extern "C" void granet_forget(Plan *plan) { delete plan; }
