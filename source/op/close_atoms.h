// SPDX-License-Identifier: BSD-3-Clause
// What is done about atoms much closer than in the training data where nobody counts them, as in
// simulation programs.
#pragma once

#include <mutex>

#include "absl/strings/str_format.h"
#include "closest_pair.h"
#include "report.h"

namespace deepmd {

// The rule is that of DP_ON_CLOSE_ATOMS. A warning comes again when two atoms are at half of the
// distance of any warning before.
class CloseAtoms {
 public:
  explicit CloseAtoms(Report report = &report_to_stderr) : rule_("DP_ON_CLOSE_ATOMS", report) {}

  // limit: distance, Angstrom, below which atoms are too close; 0: none are.
  absl::Status configure(float limit) {
    limit_ = told_ = limit;
    return limit > 0 ? rule_.configure() : absl::OkStatus();
  }

  bool watches() const { return limit_ > 0 && !rule_.ignores(); }

  // The closest pair of a list of atoms of n_types types; to be called from any thread.
  template <typename T>
  absl::Status tell(const ClosestPair<T>& pair, std::int64_t n_types) {
    if (pair.distance >= limit_) return absl::OkStatus();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (pair.distance >= told_) return absl::OkStatus();
      if (rule_.warns()) told_ = static_cast<float>(pair.distance) / 2;
    }
    const auto atom = [&](const Atom<T>& a) {
      const std::string type = n_types > 1 ? absl::StrCat("type ", a.type, " ") : "";
      return type + absl::StrFormat("at (%.4g, %.4g, %.4g)", a.at[0], a.at[1], a.at[2]);
    };
    return rule_.tell(
        absl::StrFormat("two atoms, %s and %s, are %.4g Angstrom apart, less than half of the "
                        "smallest distance in the training data (%.4g)",
                        atom(pair.center), atom(pair.neighbor), pair.distance, 2 * limit_),
        "the model extrapolates there");
  }

 private:
  Rule rule_;
  float limit_ = 0, told_ = 0;
  std::mutex mutex_;
};

}  // namespace deepmd
