// SPDX-License-Identifier: BSD-3-Clause
// Handling of neighbours beyond sel where their number is not read, as in simulation
// programs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace deepmd {

// Where a message goes; level is "WARNING" or "ERROR".
using Report = void (*)(const char* level, const std::string& message);

inline void report_to_stderr(const char* level, const std::string& message) {
  std::fprintf(stderr, "deepmd_tf %s: %s\n", level, message.c_str());
  std::fflush(stderr);
}

// DP_ON_MISSING_NEIGHBORS is "warn" (also when it is not set), "error" or "ignore". A warning
// comes again when more neighbours are found than in any warning before.
class MissingNeighbors {
 public:
  explicit MissingNeighbors(Report report = &report_to_stderr) : report_(report) {}

  // Reads the environment variable; an error when it is none of the three words.
  absl::Status configure() {
    const char* text = std::getenv(kVariable);
    const std::string word = text == nullptr || *text == '\0' ? "warn" : text;
    if (word != "warn" && word != "error" && word != "ignore") {
      return absl::InvalidArgumentError(absl::StrCat("environment variable ", kVariable, " is \"",
                                                     word, "\", expected warn, error or ignore"));
    }
    rule_ = word;
    return absl::OkStatus();
  }

  // sel, dropped and max_found by type, as of one list; to be called from any thread.
  absl::Status tell(const std::vector<std::int32_t>& sel, const std::vector<std::int64_t>& dropped,
                    const std::vector<std::int32_t>& max_found) {
    if (rule_ == "ignore") return absl::OkStatus();
    const std::lock_guard<std::mutex> lock(mutex_);
    reported_.resize(sel.size(), 0);
    std::string parts;
    for (std::size_t t = 0; t < sel.size(); ++t) {
      if (dropped[t] == 0 || max_found[t] <= reported_[t]) continue;
      if (rule_ == "warn") reported_[t] = max_found[t];
      absl::StrAppend(&parts, parts.empty() ? "" : "; ", "type ", t, ": ", max_found[t],
                      ", sel is ", sel[t]);
    }
    if (parts.empty()) return absl::OkStatus();
    const std::string what = absl::StrCat(
        "some atoms have more neighbours within the cutoff than the model was made for (", parts,
        ")");
    if (rule_ == "error") {
      const std::string stop = absl::StrCat(what, ", and ", kVariable, " is error");
      // what a program prints of an error is lost where MPI ends it at once
      report_("ERROR", stop);
      return absl::InvalidArgumentError(stop);
    }
    report_("WARNING", absl::StrCat(what,
                                    "; the farthest are left out, so the energy is not smooth "
                                    "there (",
                                    kVariable,
                                    "=error stops instead, =ignore says "
                                    "nothing)"));
    return absl::OkStatus();
  }

 private:
  static constexpr const char* kVariable = "DP_ON_MISSING_NEIGHBORS";
  const Report report_;
  std::string rule_ = "warn";
  std::mutex mutex_;
  std::vector<std::int32_t> reported_;
};

}  // namespace deepmd
