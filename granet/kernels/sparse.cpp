// Convolutions that compute with the active weights alone.
//
// Tensors are (channels, height, width, batch), fp32, batch innermost: lanes of a vector are images, or, where the batch
// is small, images and columns. For a tile of outputs, chunks of the input's channels that fit a cache are copied into a
// buffer, with their padding, and in parity planes where the convolution strides; then every active weight is one number
// times up to ACCUMULATORS vectors that stay in registers. Work is split among threads by tile, always in the same way.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "vec.h"

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ACCUMULATORS = 16; // of 32 registers
#else
constexpr int ACCUMULATORS = 8; // of 16
#endif
constexpr int GROUP = LANES < 8 ? LANES : 8; // active weights whose gradients are summed side by side
constexpr int64_t CACHE = 640 * 1024;    // bytes of the second cache for a chunk of the input
constexpr int64_t MIN_WEIGHTS = 24;      // of one output in a chunk, so that its sums are seldom put down and taken up
constexpr int64_t GRADIENT_VECTORS = 32; // of a tile, so that sums over lanes are few

// What a convolution reads and writes. Output (h, w) lies at row and column out_start + out_stride * (h, w) of y, and
// reads inputs from stride * (h, w) + in_start on.
struct Shape {
    int64_t N, C, H, W, O, OH, OW, YH, YW;
    int32_t KH, KW, stride, in_start_h, in_start_w, out_stride, out_start_h, out_start_w;
};

// The active weights: row by row of the output, where each begins; its place in the kernel, (channel * KH + y) * KW + x;
// and its place in the dense weight.
struct Lists {
    const int32_t *begin, *place, *source;
};

struct Item {
    int32_t offset; // floats, into the tile
    float value;
};

// How the outputs are cut into tiles, and the channels of the input into chunks.
struct Tiling {
    int64_t block, rows, columns, chunk;            // images, rows and columns of a tile; channels
    int64_t plane_rows, plane_columns, plane, channel; // of the buffer: its sizes, and floats per plane and channel
    int64_t num_blocks, num_row_tiles, num_column_tiles, num_chunks;

    int64_t tasks() const { return num_blocks * num_row_tiles * num_column_tiles; }
    int64_t pitch() const { return plane_columns * block; }
    int64_t vectors(int64_t columns) const { return (columns * block + LANES - 1) / LANES; }
    int64_t floats() const { return chunk * channel + (ACCUMULATORS + 1) * LANES; }

    void fit(const Shape &s) {
        plane_rows = rows + (s.KH - 1) / s.stride;
        plane_columns = columns + (s.KW - 1) / s.stride;
        plane = plane_rows * plane_columns * block;
        channel = plane * s.stride * s.stride;
        num_blocks = (s.N + block - 1) / block;
        num_row_tiles = (s.OH + rows - 1) / rows;
        num_column_tiles = (s.OW + columns - 1) / columns;
        chunk = std::max<int64_t>(1, std::min(s.C, CACHE / (channel * 4)));
        num_chunks = (s.C + chunk - 1) / chunk;
        chunk = (s.C + num_chunks - 1) / num_chunks;
    }

    // `weights`: active ones per output and channel; `wanted`: vectors of a tile, at least, where the batch has them
    Tiling(const Shape &s, double weights, int64_t wanted, int threads) {
        block = s.N;
        if (s.N % LANES == 0 || s.N > 4 * LANES || s.out_stride > 1) {
            int64_t several = 1;
            while (several * s.OH * s.OW < wanted && several * 2 * LANES <= s.N)
                several *= 2;
            block = LANES * several;
        }
        auto busy = [&] { return chunk >= s.C || weights * chunk >= MIN_WEIGHTS; };
        columns = std::min<int64_t>(s.OW, std::max<int64_t>(1, 2 * ACCUMULATORS * LANES / block));
        rows = std::min<int64_t>(s.OH, std::max<int64_t>(1, 256 / vectors(columns)));
        for (fit(s); (!busy() || tasks() < threads) && rows > 1; fit(s))
            rows = (rows + 1) / 2;
    }
};

// Some outputs: images from n0, rows from h0, columns from w0. A row of them is vectors whose places in y are `place`
// from the row's first on; the last lanes of some are none.
struct Tile {
    int64_t n0, images, h0, rows, w0, columns, start, row_pitch, plane;
    bool whole;
    std::vector<int64_t> place;
    std::vector<int> lanes;

    Tile(const Shape &s, const Tiling &t, int64_t task) {
        n0 = task % t.num_blocks * t.block; // images fastest: tiles in a row share pages and cache lines' neighbours
        w0 = task / t.num_blocks % t.num_column_tiles * t.columns;
        h0 = task / (t.num_blocks * t.num_column_tiles) * t.rows;
        images = std::min(t.block, s.N - n0);
        rows = std::min(t.rows, s.OH - h0);
        columns = std::min(t.columns, s.OW - w0);
        plane = s.YH * s.YW * s.N;
        row_pitch = s.out_stride * s.YW * s.N;
        start = ((s.out_start_h + h0 * s.out_stride) * s.YW + s.out_start_w + w0 * s.out_stride) * s.N + n0;
        whole = true;
        for (int64_t v = 0; v < t.vectors(columns); v++) {
            int64_t first = v * LANES;
            if (t.block % LANES == 0) {
                int64_t n = first % t.block;
                place.push_back(first / t.block * s.out_stride * s.N + n);
                lanes.push_back(std::max<int64_t>(0, std::min<int64_t>(LANES, images - n)));
            } else { // the whole batch, and out_stride is 1: a row lies in y as it does in the buffer
                place.push_back(first);
                lanes.push_back(std::min<int64_t>(LANES, columns * t.block - first));
            }
            whole &= lanes.back() == LANES;
        }
    }
};

// Copies the channels c0 to c1 of what a tile of outputs reads into the buffer; what lies outside of the image is zero.
static void pack(const float *x, float *buffer, const Shape &s, const Tiling &t, const Tile &tile, int64_t c0,
                 int64_t c1, const std::vector<char> &used) {
    for (int64_t c = c0; c < c1; c++) {
        if (!used[c])
            continue;
        for (int py = 0; py < s.stride; py++)
            for (int px = 0; px < s.stride; px++) {
                float *to = buffer + (c - c0) * t.channel + (py * s.stride + px) * t.plane;
                for (int64_t r = 0; r < t.plane_rows; r++) {
                    int64_t h = (tile.h0 + r) * s.stride + s.in_start_h + py;
                    bool inside = h >= 0 && h < s.H;
                    const float *row = x + (c * s.H + h) * s.W * s.N + tile.n0;
                    for (int64_t q = 0; q < t.plane_columns; q++, to += t.block) {
                        int64_t w = (tile.w0 + q) * s.stride + s.in_start_w + px;
                        bool there = inside && w >= 0 && w < s.W;
                        if (t.block == LANES && tile.images == LANES)
                            store(to, there ? load(row + w * s.N) : vec{});
                        else {
                            int64_t count = there ? tile.images : 0;
                            if (count)
                                std::memcpy(to, row + w * s.N, count * sizeof(float));
                            std::memset(to + count, 0, (t.block - count) * sizeof(float));
                        }
                    }
                }
            }
    }
}

// The active weights as offsets into the buffer of their chunk, and where each output's begin in each chunk.
struct Plan {
    std::vector<char> used;
    Tiling tiling;
    std::unique_ptr<Item[]> items;
    std::vector<int32_t> cuts; // (O, num_chunks + 1)

    Plan(const Shape &s, const Lists &lists, const float *weight, int64_t wanted, int threads)
        : used(s.C), tiling(s, double(lists.begin[s.O]) / (s.O * s.C), wanted, threads),
          items(new Item[lists.begin[s.O] + 1]), cuts(s.O * (tiling.num_chunks + 1)) {
        const Tiling &t = tiling;
        int32_t taps = s.KH * s.KW;
        std::vector<int32_t> tap(taps);
        for (int y = 0; y < s.KH; y++)
            for (int x = 0; x < s.KW; x++)
                tap[y * s.KW + x] = (y % s.stride * s.stride + x % s.stride) * t.plane + y / s.stride * t.pitch() +
                                    x / s.stride * t.block;
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t o = 0; o < s.O; o++) {
            int32_t *cut = &cuts[o * (t.num_chunks + 1)], k = lists.begin[o], last = lists.begin[o + 1], c = 0;
            for (int64_t i = 0; i < t.num_chunks; i++) {
                cut[i] = k;
                int32_t end = std::min<int64_t>(s.C, (i + 1) * t.chunk) * taps;
                for (; k < last && lists.place[k] < end; k++) {
                    while (lists.place[k] >= (c + 1) * taps) // places ascend
                        c++;
                    if (!used[c]) // written once: threads share the line
#pragma omp atomic write
                        used[c] = 1;
                    items[k] = {static_cast<int32_t>((c - i * t.chunk) * t.channel + tap[lists.place[k] - c * taps]),
                                weight ? weight[lists.source[k]] : 0.0f};
                }
            }
            cut[t.num_chunks] = last;
        }
    }
    const int32_t *cut(int64_t o, int64_t chunk) const { return &cuts[o * (tiling.num_chunks + 1) + chunk]; }
};

struct Buffer { // aligned to a cache line
    std::vector<float> memory;
    float *start;
    explicit Buffer(int64_t floats) : memory(floats + 16, 0.0f) {
        start = reinterpret_cast<float *>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63));
    }
};

// R rows of S vectors of one output: where they are read and written, and what they start from.
struct Target {
    const float *in;
    int64_t in_pitch;
    float *out;
    int64_t out_pitch;
    const int64_t *place;
    const int *lanes;
    bool whole, first;
    float bias, lowest; // lowest: what outputs are at least
};

template <int R, int S> static void micro(const Item *item, const Item *end, const Target &t) {
    vec sum[R * S];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 16
        for (int v = 0; v < S; v++)
            sum[r * S + v] = t.first ? all(t.bias) : load(t.out + r * t.out_pitch + t.place[v], t.lanes[v], 0.0f);
    for (; item < end; item++) {
        const float *p = t.in + item->offset;
        vec value = all(item->value);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 16
            for (int v = 0; v < S; v++)
                sum[r * S + v] += value * load(p + r * t.in_pitch + v * LANES);
    }
    vec lowest = all(t.lowest);
#pragma GCC unroll 16
    for (int i = 0; i < R * S; i++) {
        float *to = t.out + i / S * t.out_pitch + t.place[i % S];
        vec value = sum[i] > lowest ? sum[i] : lowest;
        if (t.whole)
            store(to, value);
        else
            store(to, value, t.lanes[i % S]);
    }
}

using Micro = void (*)(const Item *, const Item *, const Target &);

struct Piece { // of a tile: what one call of a kernel computes
    Micro kernel;
    int64_t row, vector;
};

static std::vector<Piece> pieces(int64_t rows, int64_t vectors) {
    std::vector<Piece> made;
    int64_t R, S;
    for (int64_t v = 0; v < vectors; v += S) {
        for (S = 1; S * 2 <= vectors - v && S * 2 <= ACCUMULATORS;)
            S *= 2;
        for (int64_t r = 0; r < rows; r += R) {
            for (R = 1; R * 2 <= rows - r && R * 2 * S <= ACCUMULATORS;)
                R *= 2;
            switch (R * 32 + S) {
#define KERNEL(r_, s_)                                                                                                 \
    case r_ * 32 + s_:                                                                                                 \
        made.push_back({micro<r_, s_>, r, v});                                                                         \
        break;
                KERNEL(1, 1) KERNEL(2, 1) KERNEL(4, 1) KERNEL(8, 1) KERNEL(1, 2) KERNEL(2, 2) KERNEL(4, 2)
                KERNEL(1, 4) KERNEL(2, 4) KERNEL(1, 8)
#if defined(__AVX512F__) || defined(__aarch64__)
                KERNEL(16, 1) KERNEL(8, 2) KERNEL(4, 4) KERNEL(2, 8) KERNEL(1, 16)
#endif
#undef KERNEL
            }
        }
    }
    return made;
}

// y = convolution of x with the active weights, + bias where there is one; negative outputs are 0 with relu.
extern "C" void granet_forward(const float *x, const float *weight, const float *bias, float *y, const Shape *shape,
                               const Lists *lists, int relu, int threads) {
    const Shape &s = *shape;
    Plan plan(s, *lists, weight, ACCUMULATORS, threads);
    const Tiling &t = plan.tiling;
#pragma omp parallel num_threads(threads)
    {
        Buffer buffer(t.floats());
#pragma omp for schedule(static)
        for (int64_t task = 0; task < t.tasks(); task++) {
            Tile tile(s, t, task);
            std::vector<Piece> parts = pieces(tile.rows, t.vectors(tile.columns));
            for (int64_t chunk = 0; chunk < t.num_chunks; chunk++) {
                int64_t c0 = chunk * t.chunk, c1 = std::min(s.C, c0 + t.chunk);
                pack(x, buffer.start, s, t, tile, c0, c1, plan.used);
                bool floored = relu && chunk + 1 == t.num_chunks;
                for (int64_t o = 0; o < s.O; o++) {
                    const int32_t *cut = plan.cut(o, chunk);
                    if (cut[0] == cut[1] && chunk > 0 && !floored)
                        continue;
                    for (const Piece &part : parts)
                        part.kernel(&plan.items[cut[0]], &plan.items[cut[1]],
                                    {buffer.start + part.row * t.pitch() + part.vector * LANES, t.pitch(),
                                     y + o * tile.plane + tile.start + part.row * tile.row_pitch, tile.row_pitch,
                                     &tile.place[part.vector], &tile.lanes[part.vector], tile.whole, chunk == 0,
                                     bias ? bias[o] : 0.0f,
                                     floored ? 0.0f : -std::numeric_limits<float>::infinity()});
                }
            }
        }
    }
}

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

// Gradients of the active weights, into their places in the dense gradient, which is zero elsewhere.
extern "C" void granet_weight_gradient(const float *x, const float *gradient, float *weight_gradient,
                                       const Shape *shape, const Lists *lists, int threads) {
    const Shape &s = *shape;
    Plan plan(s, *lists, nullptr, GRADIENT_VECTORS, threads);
    const Tiling &t = plan.tiling;
    int64_t num_active = lists->begin[s.O];
    std::vector<std::vector<float>> parts(threads);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> &part = parts[omp_get_thread_num()];
        part.assign(num_active, 0.0f);
        Buffer buffer(t.floats()), outer(t.rows * t.vectors(t.columns) * LANES);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < t.tasks(); task++) {
            Tile tile(s, t, task);
            int64_t vectors = t.vectors(tile.columns);
            for (int64_t chunk = 0; chunk < t.num_chunks; chunk++) {
                int64_t c0 = chunk * t.chunk, c1 = std::min(s.C, c0 + t.chunk);
                pack(x, buffer.start, s, t, tile, c0, c1, plan.used);
                for (int64_t o = 0; o < s.O; o++) {
                    int64_t first = plan.cut(o, chunk)[0], last = plan.cut(o, chunk)[1];
                    if (first == last)
                        continue;
                    const float *from = gradient + o * tile.plane + tile.start;
                    for (int64_t r = 0; r < tile.rows; r++, from += tile.row_pitch)
                        for (int64_t v = 0; v < vectors; v++)
                            store(outer.start + (r * vectors + v) * LANES,
                                  load(from + tile.place[v], tile.lanes[v], 0.0f));
                    for (int64_t k = first; k < last; k += GROUP) {
                        const float *at[GROUP];
                        vec sum[GROUP];
#pragma GCC unroll 8
                        for (int i = 0; i < GROUP; i++) {
                            at[i] = buffer.start + plan.items[std::min(k + i, last - 1)].offset;
                            sum[i] = vec{};
                        }
                        const float *g = outer.start;
                        for (int64_t r = 0; r < tile.rows; r++)
                            for (int64_t v = 0; v < vectors; v++, g += LANES) {
                                vec value = load(g);
                                int64_t place = r * t.pitch() + v * LANES;
#pragma GCC unroll 8
                                for (int i = 0; i < GROUP; i++)
                                    sum[i] += value * load(at[i] + place);
                            }
                        float out[GROUP];
                        sums(sum, out);
                        for (int i = 0; i < GROUP && k + i < last; i++)
                            part[k + i] += out[i];
                    }
                }
            }
        }
#pragma omp for schedule(static)
        for (int64_t k = 0; k < num_active; k++) {
            float sum = 0;
            for (const std::vector<float> &other : parts)
                if (!other.empty())
                    sum += other[k];
            weight_gradient[lists->source[k]] = sum;
        }
    }
}
