// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_fragments.h"

#include <algorithm>

#include "gpu_pairs.h"
#include "kernels/fragment_report.h"

namespace deepmd {
namespace gpu {
namespace {

using std::int32_t;
using std::int64_t;

template <typename T = float>
Kernel fragments(const char* name) {
  return {"fragments", name, real_of<T>()};
}

}  // namespace

Fragments::Fragments(const Stream& stream, int64_t n_frames, int64_t n_local, int64_t n_all)
    : stream_(stream), n_frames_(n_frames), n_local_(n_local), n_all_(n_all) {
  const int64_t n = n_frames * n_all;
  report_ = stream.scratch<int32_t>(kFragmentNumbers);
  rank_ = stream.scratch<int32_t>(n);
  before_ = stream.scratch<int32_t>(n);
  sizes_ = stream.scratch<int32_t>(2 * n);
  base_ = stream.scratch<int32_t>(n_frames + 1);
  stream.zero(report_, kFragmentNumbers);
  stream.zero(sizes_, 2 * n);
}

template <typename T>
void Fragments::take_groups(const T* group, const int32_t* type) {
  const int64_t n = n_frames_ * n_all_;
  int32_t* const number = stream_.scratch<int32_t>(n);
  stream_.for_each(fragments<T>("group_numbers"), n, group, type, n, number, report_);
  number_ = number;
}

template <typename T>
void Fragments::check_positions(const T* coord) {
  int32_t* const region = stream_.scratch<int32_t>(n_frames_);
  T* const same = stream_.scratch<T>(n_frames_);
  stream_.launch(fragments<T>("measure_groups"), {n_frames_, 256}, number_, coord, n_frames_,
                 n_all_, region, same, report_);
  stream_.for_each(fragments<T>("meet"), n_frames_ * n_all_, number_, coord, region, same,
                   n_frames_, n_all_, report_);
}

bool Fragments::find() {
  const int64_t n = n_frames_ * n_all_;
  int32_t* const first = stream_.scratch<int32_t>(n);
  int32_t* const members = stream_.scratch<int32_t>(n_frames_);
  stream_.for_each(fragments("first_atoms"), n, number_, n_frames_, n_local_, n_all_, first,
                   before_, report_);
  stream_.for_each(fragments("rank_groups"), n, number_, first, n_frames_, n_local_, n_all_, rank_,
                   sizes_);
  stream_.for_each(fragments("count_members"), n_frames_, sizes_, n_frames_, n_all_, members,
                   report_);
  exclusive_sums(stream_, members, n_frames_, base_);
  stream_.for_each(fragments("largest_members"), n, sizes_, base_, n_frames_, n_all_, report_);
  int32_t report[kFragmentNumbers];
  stream_.read(report_, kFragmentNumbers, report);
  if (report[kFragmentsWrong] != 0) return false;
  const auto room = [](int64_t local, int64_t ghost) {
    const int64_t places = std::max<int64_t>(local, 1);  // no array is empty
    return Room{places, places + ghost};
  };
  n_sub_ = report[kSubFrames];
  region_ = room(report[kRegionLocal], report[kRegionGhost]);
  sub_frame_ = room(report[kSubLocal], report[kSubGhost]);
  return true;
}

void Fragments::map_regions(int32_t* forward, int32_t* backward) const {
  stream_.for_each(fragments("fill_places"), n_frames_ * region_.all, forward,
                   n_frames_ * region_.all);
  stream_.for_each(fragments("map_regions"), n_frames_ * n_all_, rank_, before_, n_frames_,
                   n_local_, n_all_, region_.local, region_.all, forward, backward);
}

void Fragments::map_sub_frames(int32_t* forward, int32_t* backward, int32_t* frame) const {
  stream_.for_each(fragments("fill_places"), n_sub_ * sub_frame_.all, forward,
                   n_sub_ * sub_frame_.all);
  stream_.for_each(fragments("frames_of_members"), n_frames_, base_, n_frames_, frame);
  stream_.for_each(fragments("map_members"), n_sub_ * n_all_, rank_, before_, sizes_, base_, frame,
                   n_sub_, n_local_, n_all_, sub_frame_.local, sub_frame_.all, forward, backward);
}

template void Fragments::take_groups(const float*, const int32_t*);
template void Fragments::take_groups(const double*, const int32_t*);
template void Fragments::check_positions(const float*);
template void Fragments::check_positions(const double*);

}  // namespace gpu
}  // namespace deepmd
