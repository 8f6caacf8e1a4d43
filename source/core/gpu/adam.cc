// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_adam.h"

#include "tables.h"

namespace deepmd {
namespace gpu {
namespace {

constexpr int kThreads = 256;

// Those that know no type of variables are of either.
Kernel adam_kernel(const char* name, Real real = Real::kSingle) { return {"adam", name, real}; }

template <typename T>
Table<AdamUpdate<T>> table_of(const std::vector<AdamUpdate<T>>& updates) {
  Table<AdamUpdate<T>> table;
  for (const auto& update : updates) table.add(update, blocks_of(update.size, kAdamBlock));
  return table;
}

}  // namespace

bool adam_step(const Stream& stream, const AdamSettings& settings, const double* loss,
               const std::vector<AdamUpdate<float>>& single,
               const std::vector<AdamUpdate<double>>& twice, float* power1, float* power2) {
  auto singles = table_of(single);
  auto doubles = table_of(twice);
  Tables tables;
  tables.add(&singles);
  tables.add(&doubles);
  tables.write(stream);
  std::int32_t* bad = stream.scratch<std::int32_t>(1);
  stream.launch(adam_kernel("adam_begin"), {1, 32}, loss, bad);
  tables.launch(stream, adam_kernel("adam_check", real_of<float>()), kThreads, singles, bad);
  tables.launch(stream, adam_kernel("adam_check", real_of<double>()), kThreads, doubles, bad);
  const std::int32_t* found = bad;
  const float *now1 = power1, *now2 = power2;
  tables.launch(stream, adam_kernel("adam_step", real_of<float>()), kThreads, singles, found, now1,
                now2, settings);
  tables.launch(stream, adam_kernel("adam_step", real_of<double>()), kThreads, doubles, found, now1,
                now2, settings);
  stream.launch(adam_kernel("adam_end"), {1, 32}, found, settings, power1, power2);
  std::int32_t on_host = 1;
  stream.read(bad, 1, &on_host);
  return on_host == 0;
}

}  // namespace gpu
}  // namespace deepmd
