// SPDX-License-Identifier: BSD-3-Clause
#include "mesh.h"

#include <cstring>

namespace deepmd {
namespace {

const std::int64_t kHeader = 16;

std::string text(std::int64_t value) { return std::to_string(value); }

// Each local atom is a centre once, and no count is out of reason.
std::string check(const GivenList& list, std::int64_t n_local, std::int64_t n_all) {
  std::vector<char> seen(n_local, 0);
  for (std::int64_t k = 0; k < n_local; ++k) {
    const std::int64_t i = list.centers[k];
    if (i < 0 || i >= n_local || seen[i]) {
      return "invalid mesh tensor: entry " + text(k) + " of its list of centres is " + text(i) +
             ", expected every number from 0 to " + text(n_local - 1) + " once";
    }
    seen[i] = 1;
    if (list.counts[k] < 0 || list.counts[k] > n_all) {
      return "invalid mesh tensor: atom " + text(i) + " has " + text(list.counts[k]) +
             " neighbours, expected 0 to " + text(n_all);
    }
  }
  return "";
}

template <typename P>
P pointer_at(const std::int32_t* slots) {
  P pointer = nullptr;
  std::memcpy(&pointer, slots, sizeof(pointer));
  return pointer;
}

std::string read_engine_list(const std::int32_t* mesh, std::int64_t n_local, std::int64_t n_all,
                             GivenList* list) {
  if (mesh[1] < n_local) {
    return "invalid mesh tensor: the engine's neighbour list has " + text(mesh[1]) +
           " centres, the model has " + text(n_local) + " local atoms";
  }
  const auto* centers = pointer_at<const std::int32_t*>(mesh + 4);
  const auto* counts = pointer_at<const std::int32_t*>(mesh + 8);
  const auto* const* rows = pointer_at<const std::int32_t* const*>(mesh + 12);
  if (n_local == 0) return "";
  if (centers == nullptr || counts == nullptr || rows == nullptr) {
    return "invalid mesh tensor: a pointer of the engine's neighbour list is null";
  }
  list->centers.assign(centers, centers + n_local);
  list->counts.assign(counts, counts + n_local);
  list->rows.assign(rows, rows + n_local);
  for (std::int64_t k = 0; k < n_local; ++k) {
    if (list->counts[k] > 0 && list->rows[k] == nullptr) {
      return "invalid mesh tensor: the engine's neighbours of centre " + text(list->centers[k]) +
             " are a null pointer";
    }
  }
  return check(*list, n_local, n_all);
}

std::string read_inline_list(const std::int32_t* mesh, std::int64_t size, std::int64_t n_local,
                             std::int64_t n_all, GivenList* list) {
  const std::int64_t start = kHeader + 2 * n_local;
  if (size < start) {
    return "invalid mesh tensor: a list for " + text(n_local) + " local atoms takes at least " +
           text(start) + " numbers, got " + text(size);
  }
  const std::int32_t* centers = mesh + kHeader;
  const std::int32_t* counts = centers + n_local;
  list->centers.assign(centers, centers + n_local);
  list->counts.assign(counts, counts + n_local);
  const std::string wrong = check(*list, n_local, n_all);
  if (!wrong.empty()) return wrong;
  std::int64_t offset = start;
  for (std::int64_t k = 0; k < n_local; ++k) {
    list->rows.push_back(mesh + offset);
    offset += counts[k];
  }
  if (offset != size) {
    return "invalid mesh tensor: its counts of neighbours ask for " + text(offset) +
           " numbers in all, got " + text(size);
  }
  return "";
}

}  // namespace

std::string read_mesh(const std::int32_t* mesh, std::int64_t size, std::int64_t n_local,
                      std::int64_t n_all, Mesh* result, bool mixed) {
  if (size == 0 || (mixed && size == 1)) {
    result->search = Search::open;
    return "";
  }
  if (size == 6 || (mixed && size == 7)) {
    result->search = Search::periodic;
    if (n_all == n_local) return "";
    return "a periodic search (mesh of length " + text(size) +
           ") makes its own images and takes no ghost atoms, but natoms says " + text(n_local) +
           " local atoms of " + text(n_all);
  }
  if (size == 1 || size == 7) {
    return "a mesh of length " + text(size) +
           " asks for mixed types; mixed types are not supported by this operation";
  }
  result->search = Search::given;
  if (size == kHeader) return read_engine_list(mesh, n_local, n_all, &result->given);
  if (size > kHeader) return read_inline_list(mesh, size, n_local, n_all, &result->given);
  return "invalid mesh tensor: its length is " + text(size) +
         ", expected 0 (not periodic), 6 (periodic), 16 (list of an engine) or more (list in the "
         "tensor)";
}

}  // namespace deepmd
