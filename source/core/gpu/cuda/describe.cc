// SPDX-License-Identifier: BSD-3-Clause
// What there is of CUDA, for "dp doctor".
#include <string>

#include "api.h"
#include "compiler.h"
#include "cubins.h"
#include "runtime.h"

namespace deepmd {
namespace gpu {
namespace {

std::string line(const std::string& name, const std::string& value) {
  return name + "\t" + value + "\n";
}

std::string describe_card(const Driver& driver, int i) {
  constexpr int major_number = 75, minor_number = 76;
  int device = 0, major = 0, minor = 0;
  char name[256] = "";
  std::size_t bytes = 0;
  int status = driver.cuDeviceGet(&device, i);
  if (status == 0) status = driver.cuDeviceGetName(name, sizeof name - 1, device);
  if (status == 0) status = driver.cuDeviceGetAttribute(&major, major_number, device);
  if (status == 0) status = driver.cuDeviceGetAttribute(&minor, minor_number, device);
  if (status == 0) status = driver.cuDeviceTotalMem_v2(&bytes, device);
  if (status != 0) return line("!card", words(driver, status));
  const int version = 10 * major + minor;
  const std::string text = std::string(name) + ", sm_" + std::to_string(version) + ", " +
                           std::to_string(bytes >> 20) + " MiB";
  if (version < kOldestCard) return line("!card", text + ": too old, sm_70 or newer is needed");
  return line("card", text);
}

std::string describe_cards(const Driver& driver) {
  int count = 0;
  int status = driver.cuInit(0);
  if (status == 0) status = driver.cuDeviceGetCount(&count);
  if (status != 0) return line("!card", words(driver, status));
  if (count == 0) return line("!card", "the driver knows no GPU; is CUDA_VISIBLE_DEVICES set?");
  std::string text;
  for (int i = 0; i < count; ++i) text += describe_card(driver, i);
  return text;
}

}  // namespace

std::string describe_cuda() {
  std::string why, text;
  if (const Driver* driver = open_driver(&why)) {
    text += line("driver", "for CUDA " + version_text(driver->version) + " and older");
    text += describe_cards(*driver);
    if (const Nvrtc* nvrtc = any_nvrtc(*driver, &why))
      text += line("NVRTC", nvrtc->version + " (" + nvrtc->path + ")");
    else
      text += line("!NVRTC", why);
    if (const Blas* blas = open_blas(*driver, &why))
      text += line("cuBLAS", blas->path);
    else
      text += line("!cuBLAS", why);
  } else {
    text += line("!driver", why);
  }
  return text + line("cache", cache_folder());
}

}  // namespace gpu
}  // namespace deepmd
