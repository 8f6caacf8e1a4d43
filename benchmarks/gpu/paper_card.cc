// SPDX-License-Identifier: BSD-3-Clause
#include <chrono>

#include "card.h"
#include "paper_memory.h"

namespace bench {
namespace {

class PaperCard final : public Card {
 public:
  void* stream() override { return nullptr; }
  void* allocate(std::int64_t bytes) override { return deepmd::paper::allocate(bytes); }
  void release(void* memory) override { deepmd::paper::release(memory); }
  void wait() override {}
  void mark(std::size_t i) override {
    if (i >= times_.size()) times_.resize(i + 1);
    times_[i] = Clock::now();
  }
  double between(std::size_t i, std::size_t j) override {
    return std::chrono::duration<double>(times_[j] - times_[i]).count();
  }
  std::vector<std::pair<std::string, std::string>> facts() override {
    return {{"card", "none: kernels on the host, whose times mean nothing"}};
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Clock::time_point> times_;
};

}  // namespace

std::unique_ptr<Card> make_paper_card() { return std::make_unique<PaperCard>(); }

}  // namespace bench
