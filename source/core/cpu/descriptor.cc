// SPDX-License-Identifier: BSD-3-Clause
//
// Products of four rows with a matrix that is much larger than they are, so that time goes into
// passing D or Y once. Vectors run along the axis columns, which are few, commonly 16.
#include "descriptor.h"

#include "columns.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

// The arrays of one atom.
template <typename T>
struct Atom {
  int64_t n_columns, n_axis;
  const T* moment;
  const T* other;  // tangent or adjoint
  T* out;
};

template <typename V, typename T>
struct Square {
  static constexpr int kMax = kBlock;
  const Atom<T>& atom;
  const Columns<V, T>& columns;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    const int64_t n = atom.n_columns;
    const T* x = atom.moment;
    V axis[4][N];
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) {
        axis[a][i] = load<V>(x + a * n + at[i]);
        DEEPMD_KEEP(axis[a][i]);
      }
    T* out = atom.out;
    for (int64_t m = 0; m < n; ++m, out += atom.n_axis)
      for (int i = 0; i < N; ++i)
        store(out + at[i], axis[0][i] * x[m] + axis[1][i] * x[n + m] + axis[2][i] * x[2 * n + m] +
                               axis[3][i] * x[3 * n + m]);
  }
};

template <typename V, typename T>
struct Polarize {
  static constexpr int kMax = kBlock / 2;  // twice as many registers for each vector
  const Atom<T>& atom;
  const Columns<V, T>& columns;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    const int64_t n = atom.n_columns;
    const T* factor[2] = {atom.moment, atom.other};
    V axis[2][4][N];
    for (int f = 0; f < 2; ++f)
      for (int a = 0; a < 4; ++a)
        for (int i = 0; i < N; ++i) {
          axis[f][a][i] = load<V>(factor[1 - f] + a * n + at[i]);
          DEEPMD_KEEP(axis[f][a][i]);
        }
    T* out = atom.out;
    for (int64_t m = 0; m < n; ++m, out += atom.n_axis)
      for (int i = 0; i < N; ++i) {
        V sum = axis[0][0][i] * factor[0][m];
        sum += axis[1][0][i] * factor[1][m];
        for (int a = 1; a < 4; ++a)
          for (int f = 0; f < 2; ++f) sum += axis[f][a][i] * factor[f][a * n + m];
        store(out + at[i], sum);
      }
  }
};

// out[a][m2] += sum_m1 A[a][m1] Y[m1][m2]
template <typename V, typename T>
struct AddTransposed {
  static constexpr int kMax = kBlock;
  const Atom<T>& atom;
  const Columns<V, T>& columns;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    const int64_t n = atom.n_columns;
    V sum[4][N];
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) sum[a][i] = V{};
    const T* y = atom.other;
    for (int64_t m = 0; m < n; ++m, y += atom.n_axis)
      for (int i = 0; i < N; ++i) {
        V yi = load<V>(y + at[i]);
        DEEPMD_KEEP(yi);
        for (int a = 0; a < 4; ++a) sum[a][i] += yi * atom.moment[a * n + m];
      }
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i)
        add_columns(atom.out + a * n + at[i], sum[a][i],
                    at.ends && i == N - 1 ? columns.overlap : 0);
  }
};

// Rows of the moment that are multiplied with four rows of Y at a time.
constexpr int kRows = kVectorRegisters >= 32 ? 4 : 2;

// dot[a][r] = sum_m2 A[a][m2] y[r][m2]
template <typename V, typename T>
DEEPMD_INLINE void dot_four(const Atom<T>& atom, const Columns<V, T>& columns, const V tail[4],
                            const T* const y[4], T dot[4][4]) {
#pragma GCC unroll 2
  for (int first = 0; first < 4; first += kRows) {
    V sum[kRows][4];
    for (int r = 0; r < 4; ++r) {
      const V yr = load<V>(y[r] + columns.last);
      for (int a = 0; a < kRows; ++a) sum[a][r] = yr * tail[first + a];
    }
    for (int64_t v = 0; v < columns.n_vectors - 1; ++v) {
      const int64_t at = v * Columns<V, T>::width;
      V x[kRows];
      for (int a = 0; a < kRows; ++a) {
        x[a] = load<V>(atom.moment + (first + a) * atom.n_columns + at);
        DEEPMD_KEEP(x[a]);
      }
      for (int r = 0; r < 4; ++r) {
        V yr = load<V>(y[r] + at);
        DEEPMD_KEEP(yr);
        for (int a = 0; a < kRows; ++a) sum[a][r] += yr * x[a];
      }
    }
#pragma GCC unroll 4
    for (int a = 0; a < kRows; ++a) sum_lanes<T>(sum[a], dot[first + a]);
  }
}

// out[a][m] = sum_m2 A[a][m2] Y[m][m2]
template <typename V, typename T>
DEEPMD_INLINE void dot_rows(const Atom<T>& atom, const Columns<V, T>& columns) {
  const int64_t n = atom.n_columns;
  // In the last vector the columns that the one before has seen are left out.
  V tail[4];
  for (int a = 0; a < 4; ++a)
    tail[a] = load_tail<V>(atom.moment + a * n + columns.last, columns.overlap);
  alignas(32) T dot[4][4];
  const T* y[4];
  if (n < 4) {
    for (int r = 0; r < 4; ++r) y[r] = atom.other + (r < n ? r : 0) * atom.n_axis;
    dot_four(atom, columns, tail, y, dot);
    for (int a = 0; a < 4; ++a)
      for (int64_t r = 0; r < n; ++r) atom.out[a * n + r] = dot[a][r];
    return;
  }
  for (int64_t next = 0; next < n; next += 4) {
    const int64_t m = next + 4 <= n ? next : n - 4;  // some of the last rows twice
    for (int r = 0; r < 4; ++r) y[r] = atom.other + (m + r) * atom.n_axis;
    dot_four(atom, columns, tail, y, dot);
    for (int a = 0; a < 4; ++a) Lanes<T, 4>::from(dot[a]).to(atom.out + a * n + m);
  }
}

template <template <typename, typename> class Body, typename V, typename T>
DEEPMD_INLINE void run_blocks(const Atom<T>& atom, const Columns<V, T>& columns) {
  const Body<V, T> body{atom, columns};
  constexpr int max = Body<V, T>::kMax;
  for (int64_t b = 0; b < count_blocks<max>(columns.n_vectors); ++b)
    run_block<max>(columns.n_vectors, b, body);
}

// Calls f.run<V>(columns) with the widest vector that the axis columns fill.
template <typename T, typename F>
DEEPMD_INLINE void with_vector(int64_t n_axis, const F& f) {
  if (n_axis >= kWidth<T>)
    f.template run<Vec<T, kWidth<T>>>();
  else if (n_axis >= 4)
    f.template run<Vec<T, 4>>();
  else
    f.template run<T>();
}

template <typename T>
struct Range {
  const DescriptorShape& shape;
  const T* moment;
  const T* other;
  int64_t begin, end;
  T* out;

  int64_t size_moment() const { return 4 * shape.n_columns; }
  int64_t size_descriptor() const { return shape.n_columns * shape.n_axis; }
};

// D, or its derivative.
template <template <typename, typename> class Body, typename T>
struct Forward : Range<T> {
  template <typename V>
  void run() const {
    const Columns<V, T> columns(this->shape.n_axis);
    for (int64_t i = this->begin; i < this->end; ++i) {
      const int64_t at = i * this->size_moment();
      run_blocks<Body, V, T>({this->shape.n_columns, this->shape.n_axis, this->moment + at,
                              this->other + at, this->out + i * this->size_descriptor()},
                             columns);
    }
  }
};

template <typename T>
struct Backward : Range<T> {
  template <typename V>
  void run() const {
    const Columns<V, T> columns(this->shape.n_axis);
    for (int64_t i = this->begin; i < this->end; ++i) {
      const int64_t at = i * this->size_moment();
      const Atom<T> atom{this->shape.n_columns, this->shape.n_axis, this->moment + at,
                         this->other + i * this->size_descriptor(), this->out + at};
      dot_rows(atom, columns);
      run_blocks<AddTransposed>(atom, columns);
    }
  }
};

}  // namespace

template <typename T>
void descriptor(const DescriptorShape& shape, const T* moment, int64_t begin, int64_t end, T* out) {
  with_vector<T>(shape.n_axis, Forward<Square, T>{{shape, moment, moment, begin, end, out}});
}

template <typename T>
void descriptor_jvp(const DescriptorShape& shape, const T* moment, const T* tangent, int64_t begin,
                    int64_t end, T* out) {
  with_vector<T>(shape.n_axis, Forward<Polarize, T>{{shape, moment, tangent, begin, end, out}});
}

template <typename T>
void descriptor_vjp(const DescriptorShape& shape, const T* adjoint, const T* moment, int64_t begin,
                    int64_t end, T* out) {
  with_vector<T>(shape.n_axis, Backward<T>{{shape, moment, adjoint, begin, end, out}});
}

#define INSTANTIATE(T)                                                                          \
  template void descriptor<T>(const DescriptorShape&, const T*, int64_t, int64_t, T*);          \
  template void descriptor_jvp<T>(const DescriptorShape&, const T*, const T*, int64_t, int64_t, \
                                  T*);                                                          \
  template void descriptor_vjp<T>(const DescriptorShape&, const T*, const T*, int64_t, int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
