// SPDX-License-Identifier: BSD-3-Clause
// The descriptor of moments and its derivatives: descriptor.h has the formulas, gpu_descriptor.h
// the functions. Time goes into passing D or Y once, in order; the moment of an atom is small
// beside them.
//
// A block for each atom. Thread t has the axis column t % n_axis in registers and the rows from
// t / n_axis on, so that the block goes through D or Y without gaps; rows of the moment come from
// shared memory, all four numbers of one at once.
#include "kernel.h"

constexpr int kThreads = 128;  // of a block; the rows of the moment that are in shared memory
constexpr int kAxis = 32;      // axis columns that descriptor_vjp handles at once
constexpr int kAdjoint =
    128 * 17;  // numbers of Y in shared memory: of 128 rows and 16 axis columns

// A column of a moment.
struct alignas(16) Four {
  real at[4];
};

DEVICE Four column(const real* moment, int64_t n_columns, int64_t m) {
  Four x;
  for (int a = 0; a < 4; ++a) x.at[a] = moment[a * n_columns + m];
  return x;
}
DEVICE void set_column(const Four& x, int64_t n_columns, int64_t m, real* moment) {
  for (int a = 0; a < 4; ++a) moment[a * n_columns + m] = x.at[a];
}
DEVICE real dot(const Four& x, const Four& y) {
  return x.at[0] * y.at[0] + x.at[1] * y.at[1] + x.at[2] * y.at[2] + x.at[3] * y.at[3];
}
DEVICE void add(real factor, const Four& x, Four* sum) {
  for (int a = 0; a < 4; ++a) sum->at[a] += factor * x.at[a];
}

DEVICE int least(int64_t a, int b) { return a < b ? int(a) : b; }

// Row `row` of a part: its frames have `count` atoms each, from atom `first` of the in_frame on.
DEVICE int64_t atom_of(int64_t row, int64_t count, int64_t in_frame, int64_t first) {
  return row / count * in_frame + first + row % count;
}

// D, or its derivative along tangents where there are some.
template <bool kAlong>
DEVICE void products(const real* moments, const real* tangents, int64_t n_rows, int64_t count,
                     int64_t in_frame, int64_t first, int64_t n_columns, int64_t n_axis,
                     real* out) {
  SHARED Four rows[kThreads], other_rows[kAlong ? kThreads : 1];
  const int across = least(n_axis, kThreads), down = kThreads / across;
  const int start = int(threadIdx.x) / across;
  EACH_BLOCK(row, n_rows) {
    const int64_t at = 4 * n_columns * atom_of(row, count, in_frame, first);
    const real* const moment = moments + at;
    const real* const tangent = tangents + at;
    for (int64_t begin = 0; begin < n_columns; begin += kThreads) {
      const int n = least(n_columns - begin, kThreads);
      real* const to = out + (row * n_columns + begin) * n_axis;
      block_sync();
      EACH_THREAD(m, n) {
        rows[m] = column(moment, n_columns, begin + m);
        if (kAlong) other_rows[m] = column(tangent, n_columns, begin + m);
      }
      block_sync();
      for (int64_t k = int(threadIdx.x) % across; k < n_axis && start < down; k += across) {
        const Four axis = column(kAlong ? tangent : moment, n_columns, k);
        const Four other = column(moment, n_columns, k);
        for (int m = start; m < n; m += down) {
          real value = dot(rows[m], axis);
          if (kAlong) value += dot(other_rows[m], other);
          to[m * n_axis + k] = value;
        }
      }
    }
  }
}

BLOCK_KERNEL(descriptor, const real* moments, int64_t n_rows, int64_t count, int64_t in_frame,
             int64_t first, int64_t n_columns, int64_t n_axis, real* out) {
  products<false>(moments, moments, n_rows, count, in_frame, first, n_columns, n_axis, out);
}

BLOCK_KERNEL(descriptor_jvp, const real* moments, const real* tangents, int64_t n_rows,
             int64_t count, int64_t in_frame, int64_t first, int64_t n_columns, int64_t n_axis,
             real* out) {
  products<true>(moments, tangents, n_rows, count, in_frame, first, n_columns, n_axis, out);
}

// Y is read once, into shared memory; then there are the sums over its rows, each thread those of
// the rows that it has read, and the sums along its rows, a thread for each row.
BLOCK_KERNEL(descriptor_vjp, const real* adjoints, const real* moments, int64_t n_rows,
             int64_t count, int64_t in_frame, int64_t first, int64_t n_columns, int64_t n_axis,
             real* gradients) {
  SHARED Four rows[kThreads], axis[kAxis];
  SHARED real adjoint[kAdjoint];
  EACH_BLOCK(row, n_rows) {
    const int64_t at = 4 * n_columns * atom_of(row, count, in_frame, first);
    const real* const moment = moments + at;
    real* const gradient = gradients + at;
    for (int64_t chunk = 0; chunk < n_axis; chunk += kAxis) {
      const int width = least(n_axis - chunk, kAxis);
      const int stride = width | 1;  // odd: threads that read below each other use other banks
      const int down = kThreads / width, height = least(kThreads, kAdjoint / stride);
      const int k = int(threadIdx.x) % width, start = int(threadIdx.x) / width;
      Four sum = {};
      for (int64_t begin = 0; begin < n_columns; begin += height) {
        const int n = least(n_columns - begin, height);
        const real* const from = adjoints + (row * n_columns + begin) * n_axis + chunk;
        block_sync();
        EACH_THREAD(m, n) rows[m] = column(moment, n_columns, begin + m);
        EACH_THREAD(j, width) axis[j] = column(moment, n_columns, chunk + j);
        UNROLL_BY(4)
        for (int m = start; m < n && start < down; m += down)
          adjoint[m * stride + k] = from[m * n_axis + k];
        block_sync();
        for (int m = start; m < n && start < down; m += down)
          add(adjoint[m * stride + k], rows[m], &sum);
        EACH_THREAD(m, n) {
          Four along = {};
          if (chunk > 0) along = column(gradient, n_columns, begin + m);
          UNROLL_BY(2)
          for (int j = 0; j < width; ++j) add(adjoint[m * stride + j], axis[j], &along);
          set_column(along, n_columns, begin + m, gradient);
        }
      }
      block_sync();
      rows[threadIdx.x] = sum;
      block_sync();
      EACH_THREAD(j, width) {
        Four total = column(gradient, n_columns, chunk + j);
        UNROLL_BY(2)
        for (int i = 0; i < down; ++i) add(real(1), rows[i * width + j], &total);
        set_column(total, n_columns, chunk + j, gradient);
      }
    }
  }
}
