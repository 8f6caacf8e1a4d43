// SPDX-License-Identifier: BSD-3-Clause
// What operations say where nobody else would, as in simulation programs, and the environment
// variables that rule it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace deepmd {

// Where a message goes; level is "WARNING" or "ERROR".
using Report = void (*)(const char* level, const std::string& message);

inline void report_to_stderr(const char* level, const std::string& message) {
  std::fprintf(stderr, "deepmd_tf %s: %s\n", level, message.c_str());
  std::fflush(stderr);
}

// What an environment variable says about a kind of messages: "warn" (also when it is not set),
// "error" or "ignore".
class Rule {
 public:
  Rule(const char* variable, Report report) : variable_(variable), report_(report) {}

  // Reads the variable; an error when it is none of the three words.
  absl::Status configure() {
    const char* text = std::getenv(variable_);
    word_ = text == nullptr || *text == '\0' ? "warn" : text;
    if (word_ == "warn" || word_ == "error" || word_ == "ignore") return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("environment variable ", variable_, " is \"",
                                                   word_, "\", expected warn, error or ignore"));
  }

  bool ignores() const { return word_ == "ignore"; }
  bool warns() const { return word_ == "warn"; }

  // Stops with `what`, or warns of it and says what follows.
  absl::Status tell(const std::string& what, const std::string& consequence) const {
    if (warns()) {
      report_("WARNING", absl::StrCat(what, "; ", consequence, " (", variable_,
                                      "=error stops instead, =ignore says nothing)"));
      return absl::OkStatus();
    }
    const std::string stop = absl::StrCat(what, ", and ", variable_, " is error");
    // what a program prints of an error is lost where MPI ends it at once
    report_("ERROR", stop);
    return absl::InvalidArgumentError(stop);
  }

 private:
  const char* const variable_;
  const Report report_;
  std::string word_ = "warn";
};

}  // namespace deepmd
