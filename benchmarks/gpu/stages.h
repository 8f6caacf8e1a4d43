// SPDX-License-Identifier: BSD-3-Clause
// Times of the parts of a step.
#pragma once

#include <string>
#include <vector>

#include "card.h"

namespace bench {

class Stages {
 public:
  struct Stage {
    std::string name;
    double bytes, flops;
    std::vector<double> seconds;  // of each step
  };

  void begin_step() { next_ = 0; }

  void begin(Card* card, const char* name, double bytes, double flops) {
    if (next_ >= stages_.size()) stages_.push_back({name, 0, 0, {}});
    stages_[next_].bytes = bytes;
    stages_[next_].flops = flops;
    card->mark(next_++);
  }

  // Waits.
  void end_step(Card* card) {
    card->mark(next_);
    for (std::size_t i = 0; i < next_; ++i) stages_[i].seconds.push_back(card->between(i, i + 1));
  }

  const std::vector<Stage>& all() const { return stages_; }

 private:
  std::vector<Stage> stages_;
  std::size_t next_ = 0;
};

}  // namespace bench
