// How many blocks of threads a launch has, of which each goes on with what is behind the last
// one's. Internal linkage.
#pragma once

#include <cstdint>

namespace lockstep::kernels::cuda {
namespace {

constexpr int64_t kMaxBlocks = 4096;  // enough to fill the largest devices

unsigned blocks_for(int64_t items, int64_t of_a_block, int64_t most = kMaxBlocks) {
  const int64_t wanted = (items + of_a_block - 1) / of_a_block;
  return static_cast<unsigned>(wanted < most ? wanted : most);
}

}  // namespace
}  // namespace lockstep::kernels::cuda
