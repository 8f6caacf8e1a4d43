// SPDX-License-Identifier: BSD-3-Clause
#include "compiler.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <vector>

#include "cubins.h"
#include "runtime.h"

namespace deepmd {
namespace gpu {
namespace {

constexpr int kOldestCuda = 12, kNewestCuda = 13;

struct Headers {
  std::vector<const char*> names, texts;
  std::string fingerprint;

  Headers() {
    for (const Text* text = gpu::texts; text->name != nullptr; ++text) {
      names.push_back(text->name);
      texts.push_back(text->text);
      fingerprint = gpu::fingerprint({fingerprint, text->name, text->text});
    }
  }
  const char* find(const std::string& name) const {
    for (std::size_t i = 0; i < names.size(); ++i)
      if (name == names[i]) return texts[i];
    return nullptr;
  }
};

const Headers& headers() {
  static const Headers all;
  return all;
}

struct Found {
  std::once_flag once;
  const Nvrtc* nvrtc = nullptr;
  std::string why;
};

// A version of NVRTC, opened when it is asked for; null if it is not there.
const Found& find_nvrtc(int cuda) {
  static Found found[kNewestCuda - kOldestCuda + 1];
  Found& one = found[cuda - kOldestCuda];
  std::call_once(one.once, [&] { one.nvrtc = open_nvrtc(cuda, &one.why); });
  return one;
}

int newest_cuda(const Driver& driver) { return std::min(driver.version / 1000, kNewestCuda); }

// The best that a compiler has for a card. Code runs on cards of the same generation (the tens)
// that are not older; text of PTX on all that are not older.
Target best(const Nvrtc& nvrtc, int card) {
  Target target{&nvrtc, 0, false};
  for (const int architecture : nvrtc.architectures) {
    if (architecture > card || architecture < kOldestCard) continue;
    target.architecture = std::max(target.architecture, architecture);
  }
  target.ptx = target.architecture / 10 != card / 10;
  return target;
}

std::string name_of(int architecture, bool ptx) {
  return (ptx ? "compute_" : "sm_") + std::to_string(architecture);
}

class Program {
 public:
  Program(const Nvrtc& nvrtc, const std::string& file, const char* text) : nvrtc_(nvrtc) {
    const Headers& all = headers();
    created_ = nvrtc.nvrtcCreateProgram(&program_, text, file.c_str(), int(all.names.size()),
                                        all.texts.data(), all.names.data()) == 0;
  }
  ~Program() {
    if (created_) nvrtc_.nvrtcDestroyProgram(&program_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  bool compile(const std::vector<std::string>& options) {
    std::vector<const char*> given;
    for (const std::string& option : options) given.push_back(option.c_str());
    return created_ && nvrtc_.nvrtcCompileProgram(program_, int(given.size()), given.data()) == 0;
  }

  std::string log() const { return get(nvrtc_.nvrtcGetProgramLogSize, nvrtc_.nvrtcGetProgramLog); }
  std::string code(bool ptx) const {
    return ptx ? get(nvrtc_.nvrtcGetPTXSize, nvrtc_.nvrtcGetPTX)
               : get(nvrtc_.nvrtcGetCUBINSize, nvrtc_.nvrtcGetCUBIN);
  }

 private:
  std::string get(int (*size)(void*, std::size_t*), int (*get)(void*, char*)) const {
    std::size_t n = 0;
    if (!created_ || size(program_, &n) != 0) return "";
    std::string text(n, '\0');
    return get(program_, text.data()) == 0 ? text : "";
  }

  const Nvrtc& nvrtc_;
  void* program_ = nullptr;
  bool created_ = false;
};

// A cold cache costs seconds: said once.
void say_so(const Target& target, const std::string& card) {
  static std::atomic<bool> said{false};
  if (said.exchange(true)) return;
  const std::string folder = cache_folder();
  std::fprintf(stderr, "deepmd_tf: compiling kernels for %s (%s, NVRTC %s), some seconds%s%s\n",
               card.c_str(), name_of(target.architecture, target.ptx).c_str(),
               target.nvrtc->version.c_str(), folder.empty() ? "" : "; they are kept in ",
               folder.c_str());
  std::fflush(stderr);
}

}  // namespace

const Nvrtc* any_nvrtc(const Driver& driver, std::string* why) {
  why->clear();
  for (int cuda = kOldestCuda; cuda <= newest_cuda(driver); ++cuda) {
    const Found& found = find_nvrtc(cuda);
    if (found.nvrtc != nullptr) return found.nvrtc;
    *why += (why->empty() ? "" : ", ") + found.why;
  }
  *why = "no NVRTC is found, which compiles kernels (" + *why +
         "): pip install nvidia-cuda-nvrtc-cu12";
  return nullptr;
}

Target target_for(const Driver& driver, int card) {
  if (card < kOldestCard)
    throw Error("this GPU (" + name_of(card, false) +
                ") is older than those that deepmd_tf has "
                "kernels for: V100 (sm_70) and newer; DEEPMD_TF_DEVICE=cpu runs on the processor");
  Target second;
  // The older compiler first: what it makes is understood by every driver that is accepted.
  for (int cuda = kOldestCuda; cuda <= newest_cuda(driver); ++cuda) {
    const Nvrtc* const compiler = find_nvrtc(cuda).nvrtc;
    if (compiler == nullptr) continue;
    const Target target = best(*compiler, card);
    if (target.architecture != 0 && !target.ptx) return target;
    if (target.architecture > second.architecture) second = target;
  }
  if (second.nvrtc == nullptr)
    throw Error("there is no NVRTC that compiles for this GPU (" + name_of(card, false) +
                "): pip install nvidia-cuda-nvrtc-cu12");
  return second;
}

std::string compile(const Target& target, const std::string& file, Real real, bool cached,
                    const std::string& card) {
  const char* const text = headers().find(file + ".cu");
  if (text == nullptr) throw Error("there is no file of kernels " + file + ".cu");
  const char* const type = real == Real::kSingle ? "float" : "double";
  const std::string architecture = name_of(target.architecture, target.ptx);
  // Also in build_support/compile_kernels.py.
  const std::vector<std::string> options = {"--gpu-architecture=" + architecture,
                                            std::string("-DDEEPMD_REAL=") + type, "--std=c++17",
                                            "--device-as-default-execution-space"};
  std::string all;
  for (const std::string& option : options) all += option + " ";
  const std::string key =
      fingerprint({file, text, headers().fingerprint, all, target.nvrtc->version});
  const std::string name = file + "-" + type + "-" + architecture + "-" + key.substr(0, 16);
  std::string code;
  if (cached && load_cubin(name, key, &code)) return code;
  say_so(target, card);
  Program program(*target.nvrtc, file + ".cu", text);
  if (program.compile(options))
    code = program.code(target.ptx);
  else
    code.clear();
  if (code.empty()) {
    const std::string log = "NVRTC " + target.nvrtc->version + " " + target.nvrtc->path + "\n" +
                            all + "\n" + program.log().c_str();
    const std::string path = keep_text(file + "-" + type + "-" + architecture + ".cubin.log", log);
    throw Error("NVRTC " + target.nvrtc->version + " does not compile the kernels " + file +
                ".cu for this GPU (" + architecture + ")" +
                (path.empty() ? "" : "; what it says is in " + path) +
                "; please report it. DEEPMD_TF_DEVICE=cpu runs on the processor");
  }
  store_cubin(name, key, code);
  return code;
}

}  // namespace gpu
}  // namespace deepmd
