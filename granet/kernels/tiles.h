// How a sparse convolution is cut into tiles that caches and registers can hold.
//
// Tensors are (channels, height, width, batch), fp32 or bf16, batch innermost: numbers of a vector are images, or, where
// the batch is small, images and columns. For a tile of outputs, chunks of the input's channels that fit a cache are
// copied into a buffer, with their padding, and in parity planes where the convolution strides. Work is split among
// threads by tile, always in the same way.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "vec.h"

constexpr int64_t CACHE = 640 * 1024; // bytes of the second cache for a chunk of the input
constexpr int64_t MIN_WEIGHTS = 24;   // of one output in a chunk, so that its sums are seldom put down and taken up
constexpr int64_t SIDE_BY_SIDE = 4;   // vectors of images, as memory is quick where lines that follow each other are read

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
    int32_t offset; // numbers, into the buffer
    float value;
};

// How the outputs are cut into tiles, and the channels of the input into chunks.
struct Tiling {
    int64_t width, bytes;                           // numbers of a vector, bytes of a number
    int64_t block, rows, columns, chunk;            // images, rows and columns of a tile; channels
    int64_t plane_rows, plane_columns, plane, channel; // of the buffer: its sizes, and numbers per plane and channel
    int64_t planes_h, planes_w;                        // parities of rows and columns that any weight reads
    int64_t num_blocks, num_row_tiles, num_column_tiles, num_chunks;
    bool flat; // rows are computed as one, with the padding between them: small images of few would leave vectors empty

    int64_t tasks() const { return num_blocks * num_row_tiles * num_column_tiles; }
    int64_t pitch() const { return plane_columns * block; }
    int64_t numbers(int64_t columns) const { return columns * block; } // of a row
    int64_t vectors(int64_t numbers) const { return (numbers + width - 1) / width; }
    int64_t size() const { return chunk * channel + (SUMS + 1) * width; }

    void fit(const Shape &s) {
        plane_rows = rows + (s.KH - 1) / s.stride;
        plane_columns = columns + (s.KW - 1) / s.stride;
        plane = plane_rows * plane_columns * block;
        planes_h = std::min(s.stride, s.KH), planes_w = std::min(s.stride, s.KW);
        channel = plane * planes_h * planes_w;
        num_blocks = (s.N + block - 1) / block;
        num_row_tiles = (s.OH + rows - 1) / rows;
        num_column_tiles = (s.OW + columns - 1) / columns;
        chunk = std::max<int64_t>(1, std::min(s.C, CACHE / (channel * bytes)));
        num_chunks = (s.C + chunk - 1) / chunk;
        chunk = (s.C + num_chunks - 1) / num_chunks;
    }

    // `weights`: active ones per output and channel; `wanted`: vectors of a tile, at least, where the batch has them
    Tiling(const Shape &s, int64_t width, int64_t bytes, double weights, int64_t wanted, int threads)
        : width(width), bytes(bytes) {
        block = s.N;
        if (s.N % width == 0 || s.N > 4 * width || s.out_stride > 1) {
            int64_t several = 1;
            while ((several < SIDE_BY_SIDE || several * s.OH * s.OW < wanted) && several * 2 * width <= s.N)
                several *= 2;
            block = width * several;
        }
        auto busy = [&] { return chunk >= s.C || weights * chunk >= MIN_WEIGHTS; };
        columns = std::min<int64_t>(s.OW, std::max<int64_t>(1, 2 * SUMS * width / block));
        rows = std::min<int64_t>(s.OH, std::max<int64_t>(1, 256 / vectors(numbers(columns))));
        for (fit(s); (!busy() || tasks() < threads) && rows > 1; fit(s))
            rows = (rows + 1) / 2;
        int64_t apart = rows * vectors(numbers(columns));
        flat = block % width != 0 && vectors((rows - 1) * pitch() + numbers(columns)) < apart;
    }
};

// Some outputs: images from n0, rows from h0, columns from w0. A line of them is vectors whose places in y are `place`
// from the row's first on; the last numbers of some are none. A flat tile is one line, which lies apart from y.
struct Tile {
    int64_t n0, images, h0, rows, w0, columns, start, row_pitch, plane;
    int64_t lines, vectors; // what kernels take for rows, and vectors of each
    bool whole;
    std::vector<int64_t> place;
    std::vector<int> count;

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
        lines = t.flat ? 1 : rows;
        vectors = t.vectors(t.flat ? (rows - 1) * t.pitch() + t.numbers(columns) : t.numbers(columns));
        whole = true;
        for (int64_t v = 0; v < vectors; v++) {
            int64_t first = v * t.width;
            if (t.flat) {
                place.push_back(first);
                count.push_back(t.width);
            } else if (t.block % t.width == 0) {
                int64_t n = first % t.block;
                place.push_back(first / t.block * s.out_stride * s.N + n);
                count.push_back(std::max<int64_t>(0, std::min(t.width, images - n)));
            } else { // the whole batch, and out_stride is 1: a row lies in y as it does in the buffer
                place.push_back(first);
                count.push_back(std::min(t.width, t.numbers(columns) - first));
            }
            whole &= count.back() == t.width;
        }
    }
};

// Copies the channels c0 to c1 of what a tile of outputs reads into the buffer; what lies outside of the image is zero.
template <class Number>
static void pack(const Number *x, Number *buffer, const Shape &s, const Tiling &t, const Tile &tile, int64_t c0,
                 int64_t c1, const std::vector<char> &used) {
    using Raw = Wide<float>; // a vector is moved as it is
    constexpr int64_t WIDTH = Wide<Number>::WIDTH;
    for (int64_t c = c0; c < c1; c++) {
        if (!used[c])
            continue;
        for (int py = 0; py < t.planes_h; py++)
            for (int px = 0; px < t.planes_w; px++) {
                Number *to = buffer + (c - c0) * t.channel + (py * t.planes_w + px) * t.plane;
                for (int64_t r = 0; r < t.plane_rows; r++) {
                    int64_t h = (tile.h0 + r) * s.stride + s.in_start_h + py;
                    bool inside = h >= 0 && h < s.H;
                    const Number *row = x + (c * s.H + h) * s.W * s.N + tile.n0;
                    for (int64_t q = 0; q < t.plane_columns; q++, to += t.block) {
                        int64_t w = (tile.w0 + q) * s.stride + s.in_start_w + px;
                        bool there = inside && w >= 0 && w < s.W;
                        if (t.block == WIDTH && tile.images == WIDTH)
                            store(reinterpret_cast<float *>(to),
                                  there ? load(reinterpret_cast<const float *>(row + w * s.N)) : Raw{});
                        else {
                            int64_t count = there ? tile.images : 0;
                            if (count)
                                std::memcpy(to, row + w * s.N, count * sizeof(Number));
                            std::memset(to + count, 0, (t.block - count) * sizeof(Number));
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

    // `value`: of the active weight at a place of the dense weight
    template <class Value>
    Plan(const Shape &s, const Lists &lists, int64_t width, int64_t bytes, int64_t wanted, int threads, Value value)
        : used(s.C), tiling(s, width, bytes, double(lists.begin[s.O]) / (s.O * s.C), wanted, threads),
          items(new Item[lists.begin[s.O] + 1]), cuts(s.O * (tiling.num_chunks + 1)) {
        const Tiling &t = tiling;
        int32_t taps = s.KH * s.KW;
        std::vector<int32_t> tap(taps);
        for (int y = 0; y < s.KH; y++)
            for (int x = 0; x < s.KW; x++)
                tap[y * s.KW + x] = (y % s.stride * t.planes_w + x % s.stride) * t.plane + y / s.stride * t.pitch() +
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
                                value(lists.source[k])};
                }
            }
            cut[t.num_chunks] = last;
        }
    }
    const int32_t *cut(int64_t o, int64_t chunk) const { return &cuts[o * (tiling.num_chunks + 1) + chunk]; }
};

template <class Number> struct Buffer { // aligned to a cache line
    std::vector<char> memory;
    Number *start;
    explicit Buffer(int64_t size) : memory(size * sizeof(Number) + 64) {
        start = reinterpret_cast<Number *>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63));
    }
};
