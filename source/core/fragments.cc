// SPDX-License-Identifier: BSD-3-Clause
#include "fragments.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <utility>

#include "same_place.h"

namespace deepmd {
namespace {

std::string text(std::int64_t value) { return std::to_string(value); }

void add(SubFrame frame, SubFrames* frames) {
  const auto size = [](const std::vector<std::int32_t>& atoms) {
    return static_cast<std::int64_t>(atoms.size());
  };
  frames->n_local = std::max(frames->n_local, size(frame.local));
  frames->n_ghost = std::max(frames->n_ghost, size(frame.ghost));
  frames->members.push_back(std::move(frame));
}

void append(const std::vector<std::int32_t>& atoms, std::vector<std::int32_t>* all) {
  all->insert(all->end(), atoms.begin(), atoms.end());
}

}  // namespace

std::string find_fragments(const std::int32_t* group, std::int64_t n_frames, std::int64_t n_local,
                           std::int64_t n_all, Fragments* result) {
  for (std::int64_t f = 0; f < n_frames; ++f) {
    std::map<std::int32_t, SubFrame> parts;
    for (std::int64_t i = 0; i < n_all; ++i) {
      const std::int32_t number = group[f * n_all + i];
      if (number == -1) continue;
      if (number < -1) {
        return "frame " + text(f) + " has atom " + text(i) + " in the group " + text(number) +
               ", expected 0 or more, or -1 for an atom that takes no part";
      }
      SubFrame& part = parts[number];
      part.frame = f;
      (i < n_local ? part.local : part.ghost).push_back(static_cast<std::int32_t>(i));
    }
    if (parts.empty()) {
      return "frame " + text(f) +
             " has no atom in a group, expected those of the quantum region in the smallest one";
    }
    const SubFrame qm = parts.begin()->second;
    for (auto part = std::next(parts.begin()); part != parts.end(); ++part) {
      SubFrame both = qm;
      append(part->second.local, &both.local);
      append(part->second.ghost, &both.ghost);
      add(std::move(both), &result->qmmm);
    }
    add(qm, &result->qm);
  }
  // as large as a sub-frame of a frame without other groups
  result->qmmm.n_local = std::max(result->qmmm.n_local, result->qm.n_local);
  result->qmmm.n_ghost = std::max(result->qmmm.n_ghost, result->qm.n_ghost);
  return "";
}

template <typename T>
std::string check_positions(const std::int32_t* group, const T* coord, std::int64_t n_all) {
  std::vector<std::int64_t> order;
  std::int32_t qm = std::numeric_limits<std::int32_t>::max();
  T same = 0;
  for (std::int64_t i = 0; i < n_all; ++i) {
    if (group[i] < 0) continue;
    const T* r = coord + 3 * i;
    same = std::max(same, same_place(r));
    if (!std::isfinite(r[0]) || !std::isfinite(r[1]) || !std::isfinite(r[2])) {
      return "has atom " + text(i) + " at a position that is not finite";
    }
    order.push_back(i);
    qm = std::min(qm, group[i]);
  }
  std::sort(order.begin(), order.end(),
            [&](std::int64_t i, std::int64_t j) { return coord[3 * i] < coord[3 * j]; });
  for (std::size_t k = 0; k < order.size(); ++k) {
    const std::int64_t i = order[k];
    for (std::size_t l = k + 1; l < order.size(); ++l) {
      const std::int64_t j = order[l];
      const T* a = coord + 3 * i;
      const T* b = coord + 3 * j;
      if (b[0] - a[0] > same) break;
      const bool together = group[i] == group[j] || group[i] == qm || group[j] == qm;
      if (together && std::hypot(b[0] - a[0], b[1] - a[1], b[2] - a[2]) <= same) {
        return "has atoms " + text(std::min(i, j)) + " and " + text(std::max(i, j)) +
               " (counted from 0) at the same place";
      }
    }
  }
  return "";
}

template std::string check_positions(const std::int32_t*, const float*, std::int64_t);
template std::string check_positions(const std::int32_t*, const double*, std::int64_t);

void forward_map(const SubFrames& frames, std::int32_t* map) {
  for (const SubFrame& frame : frames.members) {
    std::fill(map, map + frames.n_all(), -1);
    std::copy(frame.local.begin(), frame.local.end(), map);
    std::copy(frame.ghost.begin(), frame.ghost.end(), map + frames.n_local);
    map += frames.n_all();
  }
}

void backward_map(const SubFrames& frames, std::int64_t n_all, std::int32_t* map) {
  for (const SubFrame& frame : frames.members) {
    std::fill(map, map + n_all, -1);
    std::int32_t place = 0;
    for (const std::int32_t atom : frame.local) map[atom] = place++;
    place = static_cast<std::int32_t>(frames.n_local);
    for (const std::int32_t atom : frame.ghost) map[atom] = place++;
    map += n_all;
  }
}

}  // namespace deepmd
