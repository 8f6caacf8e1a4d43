// SPDX-License-Identifier: BSD-3-Clause
// Handling of neighbours beyond sel where their number is not read, as in simulation
// programs.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "report.h"

namespace deepmd {

// The rule is that of DP_ON_MISSING_NEIGHBORS. A warning comes again when more neighbours are found
// than in any warning before.
class MissingNeighbors {
 public:
  explicit MissingNeighbors(Report report = &report_to_stderr)
      : rule_("DP_ON_MISSING_NEIGHBORS", report) {}

  absl::Status configure() { return rule_.configure(); }

  // sel, dropped and max_found by type, as of one list, or of all types together; to be called from
  // any thread.
  absl::Status tell(const std::vector<std::int32_t>& sel, const std::vector<std::int64_t>& dropped,
                    const std::vector<std::int32_t>& max_found, bool by_type = true) {
    if (rule_.ignores()) return absl::OkStatus();
    const std::lock_guard<std::mutex> lock(mutex_);
    reported_.resize(sel.size(), 0);
    std::string parts;
    for (std::size_t t = 0; t < sel.size(); ++t) {
      if (dropped[t] == 0 || max_found[t] <= reported_[t]) continue;
      if (rule_.warns()) reported_[t] = max_found[t];
      const std::string which = by_type ? absl::StrCat("type ", t) : "all types";
      absl::StrAppend(&parts, parts.empty() ? "" : "; ", which, ": ", max_found[t], ", sel is ",
                      sel[t]);
    }
    if (parts.empty()) return absl::OkStatus();
    return rule_.tell(
        absl::StrCat(
            "some atoms have more neighbours within the cutoff than the model was made for (",
            parts, ")"),
        "the farthest are left out, so the energy is not smooth there");
  }

 private:
  Rule rule_;
  std::mutex mutex_;
  std::vector<std::int32_t> reported_;
};

}  // namespace deepmd
