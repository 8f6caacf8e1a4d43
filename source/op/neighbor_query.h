// SPDX-License-Identifier: BSD-3-Clause
// Checks the tensors (coord, type, natoms, box, mesh) that describe atoms and makes a query of
// them.
#pragma once

#include <cstdint>
#include <vector>

#include "checks.h"
#include "mesh.h"
#include "neighbors.h"

namespace deepmd {

// The query points into the tensors and into `mesh` and `sel`.
template <typename T>
absl::Status read_query(const tensorflow::Tensor& coord, const tensorflow::Tensor& type,
                        const tensorflow::Tensor& natoms, const tensorflow::Tensor& box,
                        const tensorflow::Tensor& mesh_tensor, float cutoff,
                        const std::vector<std::int32_t>& sel, Mesh* mesh, NeighborQuery<T>* query,
                        bool mixed = false) {
  const std::int64_t n_types = static_cast<std::int64_t>(sel.size());
  if (natoms.dims() != 1 || natoms.dim_size(0) < 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("natoms has shape ", natoms.shape().DebugString(),
                     ", expected [2 + ntypes] with ntypes of at least 1"));
  }
  if (natoms.dim_size(0) != 2 + n_types) {
    return absl::InvalidArgumentError(absl::StrCat("sel has ", n_types, " entries, but natoms has ",
                                                   natoms.dim_size(0) - 2,
                                                   " atom types: expected one entry per type"));
  }
  const std::int64_t n_local = natoms.vec<std::int32_t>()(0);
  const std::int64_t n_all = natoms.vec<std::int32_t>()(1);
  if (n_local < 0 || n_all < n_local) {
    return absl::InvalidArgumentError(
        absl::StrCat("natoms starts with ", n_local, ", ", n_all,
                     ": expected the number of local atoms, then that of all atoms"));
  }
  if (coord.dims() != 2) return check_shape("coord", coord, {-1, 3 * n_all});
  const std::int64_t n_frames = coord.dim_size(0);
  absl::Status status = check_shape("coord", coord, {n_frames, 3 * n_all});
  if (status.ok()) status = check_shape("type", type, {n_frames, n_all});
  if (status.ok()) status = check_shape("mesh", mesh_tensor, {-1});
  if (!status.ok()) return status;
  const std::string wrong = read_mesh(mesh_tensor.flat<std::int32_t>().data(),
                                      mesh_tensor.NumElements(), n_local, n_all, mesh, mixed);
  if (!wrong.empty()) return absl::InvalidArgumentError(wrong);
  status = check_shape("box", box, {n_frames, 9});
  if (!status.ok()) return status;

  query->n_frames = n_frames;
  query->n_local = n_local;
  query->n_all = n_all;
  query->n_types = n_types;
  query->coord = coord.flat<T>().data();
  query->type = type.flat<std::int32_t>().data();
  query->box = box.flat<T>().data();
  query->cutoff = cutoff;
  query->sel = sel.data();
  query->mesh = mesh;
  return absl::OkStatus();
}

}  // namespace deepmd
