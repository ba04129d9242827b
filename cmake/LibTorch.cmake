# Imported targets for LibTorch, without find_package(Torch) (which needs a CUDA toolkit for a CUDA wheel and sets global flags).
#
#   lockstep::libtorch   headers and libraries; defines LOCKSTEP_WITH_CUDA when the CUDA parts are there
#   lockstep::nccl       the NCCL that LibTorch itself uses; defines LOCKSTEP_WITH_NCCL (only with LOCKSTEP_CUDA_FOUND and
#                        LOCKSTEP_WITH_NCCL)
#
# LOCKSTEP_LIBTORCH names a folder that holds `torch/` (and `nvidia/`) as pip lays them out, or an unpacked LibTorch
# distribution (`lib/`, `include/`). Without it: the cache that launch/setup.sh fills (kind `whole` with CUDA's libraries, kind
# `slim` for CPUs), then an installed PyTorch, of the versions in libtorch_versions.txt. Installed beside LockstepConfig.cmake,
# this file finds LibTorch for Lockstep's users in the same way.
#
# LOCKSTEP_TORCH_VERSION asks for one version; one outside of the tested range is then taken with a warning. Without it,
# what LOCKSTEP_LIBTORCH names must be in the range.
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/libtorch_versions.txt lockstep_torch_rows REGEX "^[0-9]")
list(TRANSFORM lockstep_torch_rows REPLACE " .*" "" OUTPUT_VARIABLE lockstep_torch_versions)
list(GET lockstep_torch_versions 0 lockstep_oldest_torch)
list(GET lockstep_torch_versions -1 lockstep_newest_torch)
if(NOT LOCKSTEP_TORCH_VERSION)  # LockstepConfig.cmake has set it to what Lockstep was built with.
  set(LOCKSTEP_TORCH_VERSION "$ENV{LOCKSTEP_TORCH_VERSION}" CACHE STRING "Version of LibTorch; empty: the first tested one that is found")
endif()
set(LOCKSTEP_LIBTORCH "$ENV{LOCKSTEP_LIBTORCH}" CACHE PATH "Folder that holds LibTorch")
if(LOCKSTEP_TORCH_VERSION)
  set(lockstep_wanted_torch ${LOCKSTEP_TORCH_VERSION})
  set(lockstep_torch_range ${LOCKSTEP_TORCH_VERSION})
else()
  set(lockstep_wanted_torch ${lockstep_torch_versions})
  set(lockstep_torch_range "${lockstep_oldest_torch} to ${lockstep_newest_torch}")
endif()

if(NOT LOCKSTEP_LIBTORCH)
  set(lockstep_cache "$ENV{LOCKSTEP_CACHE}")
  if(NOT lockstep_cache)  # Python knows the home folder without HOME too, as launch/setup.sh does.
    execute_process(COMMAND python3 -c "import os; print(os.path.expanduser('~/.cache/lockstep'))"
      OUTPUT_VARIABLE lockstep_cache OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(LOCKSTEP_CUDA_FOUND)
    set(lockstep_kinds whole)
  else()
    set(lockstep_kinds slim whole)
  endif()
  set(lockstep_candidates)
  foreach(version ${lockstep_wanted_torch})
    foreach(kind ${lockstep_kinds})
      list(APPEND lockstep_candidates ${lockstep_cache}/libtorch-${version}-${kind})
    endforeach()
  endforeach()
  list(APPEND lockstep_candidates ${LOCKSTEP_BUILT_WITH_LIBTORCH})  # set by LockstepConfig.cmake alone
  execute_process(COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/installed_torch.py
    OUTPUT_VARIABLE lockstep_installed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(lockstep_installed MATCHES "^([0-9.]+) (cuda|cpu) (.+)$")
    if(CMAKE_MATCH_1 IN_LIST lockstep_wanted_torch AND (CMAKE_MATCH_2 STREQUAL cuda OR NOT LOCKSTEP_CUDA_FOUND))
      list(APPEND lockstep_candidates ${CMAKE_MATCH_3})
    endif()
  endif()
  foreach(candidate ${lockstep_candidates})
    if(EXISTS ${candidate}/torch/lib/libtorch_cpu.so OR EXISTS ${candidate}/lib/libtorch_cpu.so)
      set(LOCKSTEP_LIBTORCH ${candidate} CACHE PATH "" FORCE)
      break()
    endif()
  endforeach()
endif()
if(EXISTS ${LOCKSTEP_LIBTORCH}/torch/lib/libtorch_cpu.so)
  set(lockstep_torch_dir ${LOCKSTEP_LIBTORCH}/torch)
elseif(EXISTS ${LOCKSTEP_LIBTORCH}/lib/libtorch_cpu.so)
  set(lockstep_torch_dir ${LOCKSTEP_LIBTORCH})
else()
  message(FATAL_ERROR "LibTorch ${lockstep_torch_range} not found ('${LOCKSTEP_LIBTORCH}'). "
    "Run ./launch/setup.sh, which fetches it, or give -DLOCKSTEP_LIBTORCH=DIR (a folder that holds torch/ or lib/libtorch_cpu.so).")
endif()
set(lockstep_found_version unknown)
if(EXISTS ${lockstep_torch_dir}/include/torch/headeronly/version.h)
  file(READ ${lockstep_torch_dir}/include/torch/headeronly/version.h lockstep_version_header)
  if(lockstep_version_header MATCHES "TORCH_VERSION_MAJOR ([0-9]+).*TORCH_VERSION_MINOR ([0-9]+).*TORCH_VERSION_PATCH ([0-9]+)")
    set(lockstep_found_version ${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3})
  endif()
endif()
if(LOCKSTEP_TORCH_VERSION)
  string(COMPARE EQUAL ${lockstep_found_version} ${LOCKSTEP_TORCH_VERSION} lockstep_torch_fits)
elseif(lockstep_found_version VERSION_LESS lockstep_oldest_torch OR lockstep_found_version VERSION_GREATER lockstep_newest_torch)
  set(lockstep_torch_fits FALSE)
else()
  set(lockstep_torch_fits TRUE)
endif()
if(NOT lockstep_torch_fits)
  message(FATAL_ERROR "LibTorch in ${LOCKSTEP_LIBTORCH} has version ${lockstep_found_version}; Lockstep needs ${lockstep_torch_range}. "
    "Run ./launch/setup.sh, which fetches it, or give another -DLOCKSTEP_LIBTORCH=DIR. "
    "-DLOCKSTEP_TORCH_VERSION=VERSION asks for one version, also for one outside of the range that is tested.")
endif()
if(NOT lockstep_found_version IN_LIST lockstep_torch_versions)
  list(JOIN lockstep_torch_versions " and " lockstep_tested_text)
  message(WARNING "Lockstep: LibTorch ${lockstep_found_version} is not one of the versions tested (${lockstep_tested_text})")
endif()

set(lockstep_torch_lib ${lockstep_torch_dir}/lib)
file(GLOB lockstep_nvidia_libs LIST_DIRECTORIES true ${LOCKSTEP_LIBTORCH}/nvidia/*/lib)
set(lockstep_torch_rpath ${lockstep_torch_lib} ${lockstep_nvidia_libs})

# Imported, so that what is exported names these targets and not this machine's folders.
add_library(lockstep::libtorch INTERFACE IMPORTED)
target_include_directories(lockstep::libtorch SYSTEM INTERFACE
  ${lockstep_torch_dir}/include ${lockstep_torch_dir}/include/torch/csrc/api/include)
# --disable-new-dtags: a way to it that goes before LD_LIBRARY_PATH (DT_RPATH), where another PyTorch's libraries may be. As a link
# item it comes after the flags of other libraries (MPI's compiler asks for the opposite), and the last one holds.
target_link_libraries(lockstep::libtorch INTERFACE
  -Wl,--disable-new-dtags ${lockstep_torch_lib}/libtorch_cpu.so ${lockstep_torch_lib}/libc10.so)
# --no-as-needed keeps libtorch_cuda, which registers its kernels when loaded.
if(LOCKSTEP_CUDA_FOUND AND EXISTS ${lockstep_torch_lib}/libtorch_cuda.so)
  set(lockstep_cuda_include ${LOCKSTEP_LIBTORCH}/nvidia/cu13/include)
  if(NOT EXISTS ${lockstep_cuda_include}/cuda_runtime.h)
    set(lockstep_cuda_include ${CUDAToolkit_INCLUDE_DIRS})
  endif()
  file(GLOB lockstep_cudart ${LOCKSTEP_LIBTORCH}/nvidia/cu13/lib/libcudart.so.*)
  if(NOT lockstep_cudart)
    set(lockstep_cudart CUDA::cudart)
  endif()
  target_include_directories(lockstep::libtorch SYSTEM INTERFACE ${lockstep_cuda_include})
  target_link_libraries(lockstep::libtorch INTERFACE
    -Wl,--no-as-needed ${lockstep_torch_lib}/libtorch_cuda.so ${lockstep_torch_lib}/libc10_cuda.so ${lockstep_torch_lib}/libtorch.so
    -Wl,--as-needed ${lockstep_cudart})
  target_compile_definitions(lockstep::libtorch INTERFACE LOCKSTEP_WITH_CUDA)
  if(LOCKSTEP_WITH_NCCL)
    file(GLOB lockstep_nccl_lib ${LOCKSTEP_LIBTORCH}/nvidia/nccl/lib/libnccl.so.2)
    set(lockstep_nccl_include ${LOCKSTEP_LIBTORCH}/nvidia/nccl/include)
    if(NOT lockstep_nccl_lib)
      find_library(lockstep_nccl_lib NAMES nccl REQUIRED)
      find_path(lockstep_nccl_include nccl.h REQUIRED)
    endif()
    add_library(lockstep::nccl INTERFACE IMPORTED)
    target_include_directories(lockstep::nccl SYSTEM INTERFACE ${lockstep_nccl_include})
    target_link_libraries(lockstep::nccl INTERFACE ${lockstep_nccl_lib})
    target_compile_definitions(lockstep::nccl INTERFACE LOCKSTEP_WITH_NCCL)
  endif()
endif()
list(APPEND CMAKE_BUILD_RPATH ${lockstep_torch_rpath})
message(STATUS "Lockstep: LibTorch ${lockstep_found_version} in ${LOCKSTEP_LIBTORCH}")
