#!/bin/bash
# Sets up, builds and runs every test; ends with a line "N passed, N failed, N skipped".
#
#   tests/run.sh [--quick]
#
#   --quick   leaves out the second build, the one for machines without CUDA
set -euo pipefail
cd "$(dirname "$0")/.."

quick=no
case ${1:-} in
  '') ;;
  --quick) quick=yes ;;
  -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "run.sh: unknown option '$1' (see --help)" >&2; exit 64 ;;
esac

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# run_tests PRESET FOLDER [CTEST OPTION]…: tests labelled mpi and cluster take the machine for themselves (RUN_SERIAL).
run_tests() {
  local preset=$1 folder=$2
  shift 2
  echo "== Testing $folder"
  ctest --test-dir "$folder" --output-on-failure --parallel "$(nproc)" --output-junit "$results/$preset.xml" "$@" || true
}

build() {
  local preset=$1
  shift
  echo "== Building preset $preset"
  cmake --preset "$preset" "$@"
  cmake --build --preset "$preset"
}

if [[ $quick == yes ]]; then ./launch/setup.sh --tests; else ./launch/setup.sh --tests --slim; fi
cache=${LOCKSTEP_CACHE:-$HOME/.cache/lockstep}

build release
run_tests release build --label-exclude cluster
# A Slurm of one machine, started for the test, sometimes refuses a step while the one before is still ending: tried again then.
run_tests cluster build --label-regex cluster --repeat until-pass:3
# Developers' machines have CUDA and would otherwise never see the build that other machines make.
if [[ $quick == no ]] && grep -q '^CMAKE_CUDA_COMPILER:' build/CMakeCache.txt; then
  torch_version=${LOCKSTEP_TORCH_VERSION:-$(awk '/^[0-9]/ { print $1; exit }' cmake/libtorch_versions.txt)}
  build no-cuda -DLOCKSTEP_LIBTORCH="$cache/libtorch-$torch_version-slim"
  run_tests no-cuda build-no-cuda --label-regex '^(cpu|mpi)$'
fi

python3 tests/summary.py "$results"/*.xml
