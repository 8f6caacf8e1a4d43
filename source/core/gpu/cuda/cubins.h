// SPDX-License-Identifier: BSD-3-Clause
// Compiled kernels in files. A file appears whole or not at all, whoever else writes it at that
// time; one that is broken or belongs to something else is as good as none.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace deepmd {
namespace gpu {

// $DEEPMD_TF_CACHE, $XDG_CACHE_HOME/deepmd_tf or ~/.cache/deepmd_tf; empty if there is no home.
std::string cache_folder();

// A number of 32 hexadecimal digits for a list of texts.
std::string fingerprint(std::initializer_list<std::string_view> texts);

// Contents of FOLDER/NAME.cubin if it was stored with this key; otherwise false.
bool load_cubin(const std::string& name, const std::string& key, std::string* cubin);

// Writes it; false if that cannot be done, which is no error.
bool store_cubin(const std::string& name, const std::string& key, const std::string& cubin);

// Puts a text into FOLDER/NAME, or into the folder for temporary files; the path, or empty.
std::string keep_text(const std::string& name, const std::string& text);

}  // namespace gpu
}  // namespace deepmd
