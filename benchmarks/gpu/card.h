// SPDX-License-Identifier: BSD-3-Clause
// A GPU by itself, as a program without TensorFlow has it: memory, a stream, and when the stream
// came where. Kernels are run by the Runtime of core.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace bench {

class Card {
 public:
  virtual ~Card() = default;
  virtual void* stream() = 0;
  // Null if there is no more.
  virtual void* allocate(std::int64_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual void wait() = 0;
  // Time `i` is when the stream has done all that was put into it before.
  virtual void mark(std::size_t i) = 0;
  // Seconds from one time to another; waits.
  virtual double between(std::size_t i, std::size_t j) = 0;
  // What it is, by name.
  virtual std::vector<std::pair<std::string, std::string>> facts() = 0;
};

// The first GPU that the driver sees; throws deepmd::gpu::Error.
std::unique_ptr<Card> open_cuda_card();

// The host's memory, which only kernels on the host can touch (source/tests/gpu).
std::unique_ptr<Card> make_paper_card();

// Memory of a card that is kept for the next array of that size, as TensorFlow does. With `exact`
// it is not: every array has just its bytes, for compute-sanitizer.
class Memory {
 public:
  explicit Memory(Card* card, bool exact = false) : card_(card), exact_(exact) {}
  ~Memory() { release_free(); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* take(std::int64_t bytes);
  void give(void* memory);

  // Bytes in use, and the most since the last call of reset_peak().
  std::int64_t used() const { return used_; }
  std::int64_t peak() const { return peak_; }
  void reset_peak() { peak_ = used_; }
  void release_free();

 private:
  Card* card_;
  bool exact_;
  std::map<void*, std::int64_t> taken_;
  std::multimap<std::int64_t, void*> free_;
  std::int64_t used_ = 0, peak_ = 0;
};

}  // namespace bench
