// SPDX-License-Identifier: BSD-3-Clause
// What fragments.cu counts.
#pragma once

enum FragmentReport {
  kFragmentsWrong,  // not 0: something is wrong, or may be: the processor finds out
  kSubFrames,       // number of sub-frames
  kRegionLocal,     // most local atoms of a quantum region
  kRegionGhost,     // ghosts
  kSubLocal,        // the same of sub-frames, regions without other groups among them
  kSubGhost,
  kFragmentNumbers
};
