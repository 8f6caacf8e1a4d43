// SPDX-License-Identifier: BSD-3-Clause
#include "api.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>

namespace deepmd {
namespace gpu {
namespace {

constexpr int kOldestDriver = 12000;

// Folder of the file that an address of this library is in.
std::string own_folder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&own_folder), &info) == 0 || info.dli_fname == nullptr)
    return "";
  const std::string path = info.dli_fname;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// Folder of the TensorFlow of this process, if it is known.
std::string tensorflow_folder() {
  std::string folder;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* found) {
        const char* name = std::strstr(info->dlpi_name, "/libtensorflow_framework.so");
        if (name == nullptr) return 0;
        *static_cast<std::string*>(found) = std::string(info->dlpi_name, name);
        return 1;
      },
      &folder);
  return folder;
}

// Folders of libraries of CUDA where pip puts packages: `package` of CUDA 12, all of 13 in one.
std::vector<std::string> folders(const std::string& package) {
  std::vector<std::string> found;
  for (const std::string& site : {own_folder() + "/../../..", tensorflow_folder() + "/.."}) {
    if (site[0] != '/') continue;
    found.push_back(site + "/nvidia/" + package + "/lib/");
    found.push_back(site + "/nvidia/cu13/lib/");
  }
  found.push_back("/usr/local/cuda/lib64/");
  return found;
}

bool open_file(const std::string& path, int how, Opened* opened) {
  opened->handle = dlopen(path.c_str(), how);
  if (opened->handle == nullptr) return false;
  link_map* map = nullptr;
  opened->path = path;
  if (dlinfo(opened->handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name[0] != '\0')
    opened->path = map->l_name;
  return true;
}

// One that the process has already, one that the dynamic linker finds, or one in the folders.
bool open_library(const std::string& name, const std::vector<std::string>& folders,
                  Opened* opened) {
  if (open_file(name, RTLD_NOW | RTLD_NOLOAD, opened) || open_file(name, RTLD_NOW, opened))
    return true;
  return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
    return open_file(folder + name, RTLD_NOW, opened);
  });
}

template <typename F>
bool find(const Opened& library, const char* name, F* function, std::string* why) {
  *function = reinterpret_cast<F>(dlsym(library.handle, name));
  if (*function == nullptr) *why = library.path + " has no function " + name;
  return *function != nullptr;
}

#define DEEPMD_FIND(name, ...) &&find(*opened, #name, &opened->name, why)

bool find_all(Driver* opened, std::string* why) {
  return true DEEPMD_DRIVER_FUNCTIONS(DEEPMD_FIND);
}
bool find_all(Nvrtc* opened, std::string* why) { return true DEEPMD_NVRTC_FUNCTIONS(DEEPMD_FIND); }
bool find_all(Blas* opened, std::string* why) { return true DEEPMD_BLAS_FUNCTIONS(DEEPMD_FIND); }

bool ask(Nvrtc* nvrtc, std::string* why) {
  int major = 0, minor = 0, count = 0;
  if (nvrtc->nvrtcVersion(&major, &minor) == 0 && nvrtc->nvrtcGetNumSupportedArchs(&count) == 0) {
    nvrtc->version = std::to_string(major) + "." + std::to_string(minor);
    nvrtc->architectures.resize(count);
    if (count > 0 && nvrtc->nvrtcGetSupportedArchs(nvrtc->architectures.data()) == 0) return true;
  }
  *why = nvrtc->path + " does not say what it compiles for";
  return false;
}

// What to do about an error of the driver.
const char* advice(int status) {
  switch (status) {
    case 2:  // out of memory
      return "use smaller batches, or end other programs on this GPU";
    case 200:  // invalid image, no binary for this GPU, unsupported version of PTX
    case 209:
    case 222:
      return "the driver is too old for this NVRTC or this card: install a newer driver, or an "
             "older NVRTC (pip install \"nvidia-cuda-nvrtc-cu12<12.9\")";
    case 803:  // driver and library do not fit, compatibility package on another card
    case 804:
      return "the driver was updated or its libraries are mixed: restart the machine or the "
             "container";
    case 214:  // uncorrectable errors of memory, of NVLink
    case 220: return "the card or its memory is faulty; ask who runs the machine";
    case 700:  // what kernels do wrong
    case 710:
    case 714:
    case 715:
    case 716:
    case 717:
    case 718:
    case 719:
      return "it happened in this or in earlier work on this GPU, and this process cannot use it "
             "any more; please report it. DEEPMD_TF_DEVICE=cpu runs on the processor";
    case 701:  // too many resources, time-out
      return "please report it with the name of the card";
    case 702: return "this card also shows a screen and ends long work; use smaller batches";
    default: return "DEEPMD_TF_DEVICE=cpu runs on the processor";
  }
}

}  // namespace

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

const Driver* open_driver(std::string* why) {
  static std::string reason;
  static const Driver* const driver = []() -> const Driver* {
    auto* opened = new Driver;
    if (!open_file("libcuda.so.1", RTLD_NOW, opened)) {
      reason = "there is no NVIDIA driver (libcuda.so.1)";
    } else if (find_all(opened, &reason)) {
      if (opened->cuDriverGetVersion(&opened->version) != 0) opened->version = 0;
      if (opened->version >= kOldestDriver) return opened;
      reason = "the NVIDIA driver is for CUDA " + version_text(opened->version);
    }
    if (opened->handle != nullptr)
      reason += "; CUDA " + version_text(kOldestDriver) +
                " is needed, that is driver 525 or newer: install a newer driver";
    delete opened;
    return nullptr;
  }();
  if (driver == nullptr) *why = reason;
  return driver;
}

const Nvrtc* open_nvrtc(int cuda, std::string* why) {
  const std::string name = "libnvrtc.so." + std::to_string(cuda);
  auto* opened = new Nvrtc;
  if (!open_library(name, folders("cuda_nvrtc"), opened)) {
    *why = "there is no " + name;
  } else if (find_all(opened, why) && ask(opened, why)) {
    return opened;
  }
  delete opened;
  return nullptr;
}

const Blas* open_blas(const Driver& driver, std::string* why) {
  static std::string reason;
  static const Blas* const blas = [&]() -> const Blas* {
    auto* opened = new Blas;
    reason = "cuBLAS (libcublas.so.12) is not found: pip install nvidia-cublas-cu12";
    for (int cuda = 12; cuda <= std::min(driver.version / 1000, 13); ++cuda) {
      const std::string name = "libcublas.so." + std::to_string(cuda);
      if (open_library(name, folders("cublas"), opened) && find_all(opened, &reason)) return opened;
    }
    delete opened;
    return nullptr;
  }();
  if (blas == nullptr) *why = reason;
  return blas;
}

std::string words(const Driver& driver, int status) {
  const char *name = nullptr, *text = nullptr;
  driver.cuGetErrorName(status, &name);
  driver.cuGetErrorString(status, &text);
  std::string found = name == nullptr ? "error " + std::to_string(status) : name;
  return text == nullptr ? found : found + ": " + text;
}

void fail(const Driver& driver, int status, const std::string& what) {
  constexpr int out_of_memory = 2;
  const std::string message =
      "the GPU could not " + what + " (" + words(driver, status) + "); " + advice(status);
  if (status == out_of_memory) throw OutOfMemory(message);
  throw Error(message);
}

}  // namespace gpu
}  // namespace deepmd
