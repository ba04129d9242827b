#!/bin/bash
# A build for CPUs needs no library of CUDA's but the two that libtorch_cpu.so itself is linked with, and finds all it needs.
#   no_cuda_libraries_test.sh PROGRAM
set -euo pipefail
libraries=$(ldd "$1")
if grep 'not found' <<< "$libraries"; then
  echo "libraries are missing" >&2
  exit 1
fi
grep --quiet libtorch_cpu.so <<< "$libraries"
unwanted=$(grep -E '^\s*lib((torch|c10)_)?(cu(da|dnn|blas|fft|file|rand|solver|sparse|pti)|nccl|nv)' <<< "$libraries" |
  grep -vE '^\s*lib(cudart|cupti)\.so\.[0-9]+ ' || true)
if [[ -n $unwanted ]]; then
  echo "linked with libraries of CUDA's:"
  echo "$unwanted"
  exit 1
fi
"$1" --help > /dev/null
