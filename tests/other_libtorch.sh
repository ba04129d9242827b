#!/bin/bash
# Builds Lockstep for CPUs with another LibTorch than the default, in a folder of its own, and runs the tests labelled cpu there.
#
#   tests/other_libtorch.sh [VERSION [TARGET...]]
#
#   VERSION   one of cmake/libtorch_versions.txt (default: the last there)
#   TARGET    what to build (default: everything); only the tests that are built are run
#
# CUDA's half is not built: a whole LibTorch is 5 GB. launch/setup.sh --torch VERSION, then
# cmake --preset release -B build-torch-VERSION-cuda -DLOCKSTEP_TORCH_VERSION=VERSION does it.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
if [[ ${1:-} == -h || ${1:-} == --help ]]; then sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0; fi

version=${1:-$(awk '/^[0-9]/ { version = $1 } END { print version }' cmake/libtorch_versions.txt)}
targets=("${@:2}")
export LOCKSTEP_TORCH_VERSION=$version
unset LOCKSTEP_LIBTORCH
./launch/setup.sh --cpu

cache=${LOCKSTEP_CACHE:-~/.cache/lockstep}
folder=build-torch-$version
cmake --preset no-cuda -B "$folder" -DLOCKSTEP_LIBTORCH="$cache/libtorch-$version-slim"
cmake --build "$folder" ${targets[0]+--target "${targets[@]}"}
ctest --test-dir "$folder" --output-on-failure --parallel "$(nproc)" --label-regex '^cpu$'
