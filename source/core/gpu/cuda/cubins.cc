// SPDX-License-Identifier: BSD-3-Clause
#include "cubins.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace deepmd {
namespace gpu {
namespace {

constexpr char kMagic[] = "deepmd_tf cubin 1";

// First line of a file: what it is of, how long it is, and whether it is as it was written.
std::string first_line(const std::string& key, const std::string& cubin) {
  return std::string(kMagic) + " " + key + " " + std::to_string(cubin.size()) + " " +
         fingerprint({cubin}) + "\n";
}

std::string path_of(const std::string& name) { return cache_folder() + "/" + name + ".cubin"; }

bool make_folders(const std::string& path) {
  for (std::size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1))
    mkdir(path.substr(0, end).c_str(), 0777);
  return mkdir(path.c_str(), 0777) == 0 || errno == EEXIST;
}

bool write_all(int file, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += std::size_t(n);
  }
  return true;
}

// Under another name first, so that nobody sees half a file.
bool write_whole(const std::string& path, const std::string& text) {
  static std::atomic<int> count{0};
  char host[64] = "";
  gethostname(host, sizeof host - 1);
  const std::string scratch = path + "." + host + "." + std::to_string(getpid()) + "." +
                              std::to_string(count.fetch_add(1)) + ".part";
  const int file = open(scratch.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) return false;
  const bool written = write_all(file, text);
  if (close(file) == 0 && written && std::rename(scratch.c_str(), path.c_str()) == 0) return true;
  unlink(scratch.c_str());
  return false;
}

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

}  // namespace

std::string cache_folder() {
  if (const char* folder = variable("DEEPMD_TF_CACHE")) return folder;
  if (const char* folder = variable("XDG_CACHE_HOME")) return std::string(folder) + "/deepmd_tf";
  if (const char* folder = variable("HOME")) return std::string(folder) + "/.cache/deepmd_tf";
  return "";
}

// FNV-1a of 128 bits.
std::string fingerprint(std::initializer_list<std::string_view> texts) {
  using Number = unsigned __int128;
  const Number prime = (Number(1) << 88) + 0x13b;
  Number hash = (Number(0x6c62272e07bb0142) << 64) + 0x62b821756295c58d;
  const auto add = [&](unsigned char byte) { hash = (hash ^ byte) * prime; };
  for (const std::string_view text : texts) {
    for (const char byte : text) add(static_cast<unsigned char>(byte));
    for (std::size_t n = text.size(), i = 0; i < sizeof n; ++i) add((n >> 8 * i) & 0xff);
  }
  char digits[33];
  std::snprintf(digits, sizeof digits, "%016llx%016llx",
                static_cast<unsigned long long>(hash >> 64), static_cast<unsigned long long>(hash));
  return digits;
}

bool load_cubin(const std::string& name, const std::string& key, std::string* cubin) {
  if (cache_folder().empty()) return false;
  std::ifstream file(path_of(name), std::ios::binary);
  std::string line;
  if (!std::getline(file, line)) return false;
  std::ostringstream rest;
  rest << file.rdbuf();
  *cubin = rest.str();
  return !cubin->empty() && line + "\n" == first_line(key, *cubin);
}

bool store_cubin(const std::string& name, const std::string& key, const std::string& cubin) {
  return !cache_folder().empty() && make_folders(cache_folder()) &&
         write_whole(path_of(name), first_line(key, cubin) + cubin);
}

std::string keep_text(const std::string& name, const std::string& text) {
  const char* scratch = variable("TMPDIR");
  for (const std::string& folder : {cache_folder(), std::string(scratch ? scratch : "/tmp")}) {
    const std::string path = folder + "/" + name;
    if (!folder.empty() && make_folders(folder) && write_whole(path, text)) return path;
  }
  return "";
}

}  // namespace gpu
}  // namespace deepmd
