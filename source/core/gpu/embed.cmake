# SPDX-License-Identifier: BSD-3-Clause
# cmake -DOUTPUT=FILE.cc -DFILES="A;B" -P embed.cmake: the texts of files as a table of C++.
set(code "// Made by embed.cmake.\n#include \"runtime.h\"\n\nnamespace deepmd {\nnamespace gpu {\n\n")
string(APPEND code "extern const Text texts[] = {\n")
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" text)
  string(APPEND code "{\"${name}\", R\"DEEPMD_TEXT(${text})DEEPMD_TEXT\"},\n")
endforeach()
string(APPEND code "{nullptr, nullptr}};\n\n}  // namespace gpu\n}  // namespace deepmd\n")
file(WRITE "${OUTPUT}" "${code}")
