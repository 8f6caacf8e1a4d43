// SPDX-License-Identifier: BSD-3-Clause
// Frames cut into fragments on the GPU; see fragments.h. All arrays are on the device.
#pragma once

#include <cstdint>

#include "gpu.h"

namespace deepmd {
namespace gpu {

class Fragments {
 public:
  Fragments(const Stream& stream, std::int64_t n_frames, std::int64_t n_local, std::int64_t n_all);

  // Takes groups [n_frames, n_all] with types, or as whole numbers.
  template <typename T>
  void take_groups(const T* group, const std::int32_t* type);
  void take_numbers(const std::int32_t* number) { number_ = number; }

  // Looks for atoms in one place; coord [n_frames, n_all, 3].
  template <typename T>
  void check_positions(const T* coord);

  // Finds the parts and waits for their numbers. False if something is wrong, or may be: the
  // processor has to do it all.
  bool find();

  std::int64_t n_sub() const { return n_sub_; }
  struct Room {
    std::int64_t local, all;  // places for local atoms, and for all
  };
  Room region() const { return region_; }
  Room sub_frame() const { return sub_frame_; }

  // forward [n_frames, region().all], backward [n_frames, n_all].
  void map_regions(std::int32_t* forward, std::int32_t* backward) const;
  // forward [n_sub, sub_frame().all], backward [n_sub, n_all], frame [n_sub].
  void map_sub_frames(std::int32_t* forward, std::int32_t* backward, std::int32_t* frame) const;

 private:
  const Stream& stream_;
  const std::int64_t n_frames_, n_local_, n_all_;
  const std::int32_t* number_ = nullptr;
  std::int32_t *report_, *rank_, *before_, *sizes_, *base_;
  std::int64_t n_sub_ = 0;
  Room region_ = {1, 1}, sub_frame_ = {1, 1};
};

}  // namespace gpu
}  // namespace deepmd
