// The gradients of a convolution's active weights: each is a sum of products over all places of the output.

#include <omp.h>

#include "tiles.h"

constexpr int GROUP = LANES < 8 ? LANES : 8; // active weights whose gradients are summed side by side
constexpr int64_t WANTED = 32;               // vectors of a tile, so that sums over lanes are few

// Sums of the lanes of GROUP vectors.
static inline void sums(vec *v, float *out) {
    int block = LANES;
#pragma GCC unroll 3
    for (int count = GROUP; count > 1; count /= 2, block /= 2) {
        ivec low;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            low[i] = i / (block / 2) * block + i % (block / 2);
        ivec high = low + block / 2;
#pragma GCC unroll 4
        for (int i = 0; i < count / 2; i++)
            v[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], low) + __builtin_shuffle(v[2 * i], v[2 * i + 1], high);
    }
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++) {
        float sum = 0;
        for (int j = 0; j < LANES / GROUP; j++)
            sum += v[0][i * (LANES / GROUP) + j];
        out[i] = sum;
    }
}

// The gradient of one output's tile, side by side, as the kernel reads it; in a flat one with zeros for the padding.
template <class Number>
static void gather(const Number *from, Number *to, const Tiling &t, const Tile &tile) {
    constexpr int WIDTH = Wide<Number>::WIDTH;
    if (t.flat) {
        std::memset(to, 0, tile.vectors * WIDTH * sizeof(Number));
        for (int64_t r = 0; r < tile.rows; r++)
            std::memcpy(to + r * t.pitch(), from + r * tile.row_pitch, t.numbers(tile.columns) * sizeof(Number));
        return;
    }
    for (int64_t r = 0; r < tile.rows; r++, from += tile.row_pitch)
        for (int64_t v = 0; v < tile.vectors; v++, to += WIDTH)
            store(to, load(from + tile.place[v], tile.count[v], 0.0f));
}

// Gradients of the weights of items `first` to `last`, added to theirs in `part`.
template <class Number>
static void add(const Item *items, int64_t first, int64_t last, const Number *in, int64_t pitch, const Number *gradient,
                int64_t lines, int64_t vectors, float *part) {
    constexpr int WIDTH = Wide<Number>::WIDTH;
    for (int64_t k = first; k < last; k += GROUP) {
        const Number *at[GROUP];
        vec sum[GROUP];
#pragma GCC unroll 8
        for (int i = 0; i < GROUP; i++) {
            at[i] = in + items[std::min(k + i, last - 1)].offset;
            sum[i] = vec{};
        }
        const Number *g = gradient;
        for (int64_t r = 0; r < lines; r++)
            for (int64_t v = 0; v < vectors; v++, g += WIDTH) {
                Places<Number> places(g);
                int64_t place = r * pitch + v * WIDTH;
#pragma GCC unroll 8
                for (int i = 0; i < GROUP; i++)
                    places.add_products(sum[i], at[i] + place);
            }
        float out[GROUP];
        sums(sum, out);
        for (int i = 0; i < GROUP && k + i < last; i++)
            part[k + i] += out[i];
    }
}

// Gradients of the active weights, into their places in the dense gradient, which is zero elsewhere.
template <class Number>
static void weight_gradient(const Number *x, const Number *gradient, float *result, const Shape &s, const Lists &lists,
                            int threads) {
    constexpr int WIDTH = Wide<Number>::WIDTH;
    Plan plan(s, lists, WIDTH, sizeof(Number), WANTED, threads, [](int32_t) { return 0.0f; });
    const Tiling &t = plan.tiling;
    int64_t num_active = lists.begin[s.O];
    std::vector<std::vector<float>> parts(threads);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> &part = parts[omp_get_thread_num()];
        part.assign(num_active, 0.0f);
        Buffer<Number> buffer(t.size()), outer(t.rows * t.vectors(t.pitch()) * WIDTH + WIDTH);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < t.tasks(); task++) {
            Tile tile(s, t, task);
            for (int64_t chunk = 0; chunk < t.num_chunks; chunk++) {
                int64_t c0 = chunk * t.chunk, c1 = std::min(s.C, c0 + t.chunk);
                pack(x, buffer.start, s, t, tile, c0, c1, plan.used);
                for (int64_t o = 0; o < s.O; o++) {
                    int64_t first = plan.cut(o, chunk)[0], last = plan.cut(o, chunk)[1];
                    if (first == last)
                        continue;
                    gather(gradient + o * tile.plane + tile.start, outer.start, t, tile);
                    add(plan.items.get(), first, last, buffer.start, t.pitch(), outer.start, tile.lines,
                        tile.vectors, part.data());
                }
            }
        }
#pragma omp for schedule(static)
        for (int64_t k = 0; k < num_active; k++) {
            float sum = 0;
            for (const std::vector<float> &other : parts)
                if (!other.empty())
                    sum += other[k];
            result[lists.source[k]] = sum;
        }
    }
}

extern "C" void granet_weight_gradient(const void *x, const void *gradient, float *result, const Shape *shape,
                                       const Lists *lists, int is_bf16, int threads) {
    with_numbers(is_bf16, [=](auto zero) {
        using Number = decltype(zero);
        weight_gradient(static_cast<const Number *>(x), static_cast<const Number *>(gradient), result, *shape, *lists,
                        threads);
    });
}
