// SPDX-License-Identifier: BSD-3-Clause
// The slots of the padded layout (padded.h) as pairs on the GPU. pull [slots, 3] is -dE/dx of each
// slot; the neighbour of a slot gets +pull as a force, its centre -pull. A slot whose neighbour is
// none of the atoms is empty.
#pragma once

#include <cstdint>

#include "gpu.h"
#include "gpu_pair_spline.h"
#include "gpu_pairs.h"
#include "soft_min.h"

namespace deepmd {
namespace gpu {

struct Slots {
  std::int64_t n_frames, n_local, n_all, n_slots;  // atoms of a frame, slots of a centre
  const std::int32_t* nlist;                       // [n_frames, n_local, n_slots]

  std::int64_t n_centers() const { return n_frames * n_local; }
  std::int64_t n_pairs() const { return n_centers() * n_slots; }
  std::int64_t n_rows() const { return n_frames * n_all; }
};

// The slots that each atom is in.
Places slot_places(const Stream& stream, const Slots& slots);

// See padded_pull() of padded.h; components are 4 or 1.
template <typename T>
void padded_pull(const Stream& stream, const T* net, const T* derivative, std::int64_t components,
                 std::int64_t n_pairs, T* pull);

// pull = -du[centre] derivative, and 0 in empty slots.
template <typename T>
void scaled_pull(const Stream& stream, const Slots& slots, const T* du, const T* derivative,
                 T* pull);

// force: [n_rows, 3].
template <typename T>
void slot_forces(const Stream& stream, const Slots& slots, const Places& places, const T* pull,
                 T* force);

// virial: [n_rows, 9], pull[a] rij[b] of each slot on its neighbour; or half there and half on its
// centre.
template <typename T>
void slot_virials(const Stream& stream, const Slots& slots, const Places& places, const T* pull,
                  const T* rij, bool halves, T* virial);

// total: [n_frames, 9], sums of the n_rows rows of each frame.
template <typename T>
void sum_virials(const Stream& stream, const T* virial, std::int64_t n_frames, std::int64_t n_rows,
                 T* total);

// Energies of atoms and pulls of their slots, as PairTab has them. slot_type [n_slots] is on the
// host. What is closer than the table begins, or of no type, gives NaN.
template <typename T>
void pair_tab(const Stream& stream, const PairTable& table, const Slots& slots,
              const std::int32_t* slot_type, const std::int32_t* type, const T* rij, const T* scale,
              T* energy, T* pull);

// The switch of each centre, and its derivative by rij.
template <typename T>
void soft_min(const Stream& stream, const Slots& slots, const SoftMin& soft, const T* rij, T* value,
              T* derivative);

}  // namespace gpu
}  // namespace deepmd
