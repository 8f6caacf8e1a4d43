// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_slot_pairs.h"

#include <algorithm>

namespace deepmd {
namespace gpu {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kWarps = kThreads / 32;

template <typename T>
Kernel slot_pairs(const char* name) {
  return {"slot_pairs", name, real_of<T>()};
}

// A warp for each of n items.
Grid warps(std::int64_t n) {
  return {std::min<std::int64_t>((n + kWarps - 1) / kWarps, 1 << 20), kThreads};
}

}  // namespace

Places slot_places(const Stream& stream, const Slots& slots) {
  std::int32_t* rows = stream.scratch<std::int32_t>(slots.n_pairs());
  stream.for_each(slot_pairs<float>("slot_rows"), slots.n_pairs(), slots.nlist, slots.n_pairs(),
                  slots.n_local * slots.n_slots, slots.n_all, rows);
  return places_by_row(stream, rows, slots.n_pairs(), slots.n_rows());
}

template <typename T>
void padded_pull(const Stream& stream, const T* net, const T* derivative, std::int64_t components,
                 std::int64_t n_pairs, T* pull) {
  const char* const name = components == 1 ? "padded_pull_radial" : "padded_pull";
  stream.for_each(slot_pairs<T>(name), n_pairs, net, derivative, n_pairs, pull);
}

template <typename T>
void scaled_pull(const Stream& stream, const Slots& slots, const T* du, const T* derivative,
                 T* pull) {
  stream.for_each(slot_pairs<T>("scaled_pull"), slots.n_pairs() * 3, du, derivative, slots.nlist,
                  slots.n_pairs(), slots.n_slots, pull);
}

template <typename T>
void slot_forces(const Stream& stream, const Slots& slots, const Places& places, const T* pull,
                 T* force) {
  stream.launch(slot_pairs<T>("slot_forces"), warps(slots.n_rows()), pull, places.splits,
                places.order, slots.n_rows(), slots.n_all, slots.n_local, slots.n_slots, force);
}

template <typename T>
void slot_virials(const Stream& stream, const Slots& slots, const Places& places, const T* pull,
                  const T* rij, bool halves, T* virial) {
  stream.launch(slot_pairs<T>(halves ? "slot_half_virials" : "slot_virials"), warps(slots.n_rows()),
                pull, rij, places.splits, places.order, slots.n_rows(), slots.n_all, slots.n_local,
                slots.n_slots, virial);
}

template <typename T>
void sum_virials(const Stream& stream, const T* virial, std::int64_t n_frames, std::int64_t n_rows,
                 T* total) {
  constexpr std::int64_t chunk = 1024, one = 1;
  const Kernel kernel = slot_pairs<T>("sum_nine");
  const std::int64_t n_chunks = std::max<std::int64_t>(1, (n_rows + chunk - 1) / chunk);
  T* sums = n_chunks == 1 ? total : stream.scratch<T>(n_frames * n_chunks * 9);
  stream.launch(kernel, {n_frames * n_chunks, 256}, virial, n_frames, n_rows, chunk, n_chunks,
                sums);
  if (n_chunks == 1) return;
  stream.launch(kernel, {n_frames, 256}, static_cast<const T*>(sums), n_frames, n_chunks, n_chunks,
                one, total);
}

template <typename T>
void pair_tab(const Stream& stream, const PairTable& table, const Slots& slots,
              const std::int32_t* slot_type, const std::int32_t* type, const T* rij, const T* scale,
              T* energy, T* pull) {
  std::int32_t* const slot_type_on = stream.scratch<std::int32_t>(slots.n_slots);
  stream.write(slot_type, slots.n_slots, slot_type_on);
  stream.launch(slot_pairs<T>("pair_tab"), warps(slots.n_centers()), table.table, table.start,
                table.step, table.n_intervals, table.n_types, slot_type_on, type, rij, slots.nlist,
                scale, slots.n_centers(), slots.n_all, slots.n_local, slots.n_slots, energy, pull);
}

template <typename T>
void soft_min(const Stream& stream, const Slots& slots, const SoftMin& soft, const T* rij, T* value,
              T* derivative) {
  stream.launch(slot_pairs<T>("soft_min"), warps(slots.n_centers()), rij, slots.nlist, soft.alpha,
                soft.low, soft.high, slots.n_centers(), slots.n_slots, value, derivative);
}

#define INSTANTIATE(T)                                                                             \
  template void padded_pull<T>(const Stream&, const T*, const T*, std::int64_t, std::int64_t, T*); \
  template void scaled_pull<T>(const Stream&, const Slots&, const T*, const T*, T*);               \
  template void slot_forces<T>(const Stream&, const Slots&, const Places&, const T*, T*);          \
  template void slot_virials<T>(const Stream&, const Slots&, const Places&, const T*, const T*,    \
                                bool, T*);                                                         \
  template void sum_virials<T>(const Stream&, const T*, std::int64_t, std::int64_t, T*);           \
  template void pair_tab<T>(const Stream&, const PairTable&, const Slots&, const std::int32_t*,    \
                            const std::int32_t*, const T*, const T*, T*, T*);                      \
  template void soft_min<T>(const Stream&, const Slots&, const SoftMin&, const T*, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
