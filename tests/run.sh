#!/bin/bash
# Sets up, checks the style, builds and runs every test; ends with a line "N passed, N failed, N skipped", in which each check of the
# style counts as a test.
#
#   tests/run.sh [--quick]
#
#   --quick   leaves out stand-alone compilation, clang-tidy and the second build, the one for machines without CUDA
#
#   LOCKSTEP_BASE=COMMIT   stand-alone compilation and clang-tidy look at what changed since then, instead of since tests/thorough.sh
#                          last passed (docs/measurements.md)
#   LOCKSTEP_TEST_SECONDS=N   leaves out the second build too where the rest took more seconds than this [2400]
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

quick=no
case ${1:-} in
  '') ;;
  --quick) quick=yes ;;
  -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "run.sh: unknown option '$1' (see --help)" >&2; exit 64 ;;
esac

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# stage TITLE: says how long the stage before took and begins another; without a title it only ends the last.
stage_title=
stage() {
  if [[ -n $stage_title ]]; then echo "== $stage_title: $((SECONDS - stage_began)) s"; fi
  stage_title=${1:-} stage_began=$SECONDS
  if [[ -n $stage_title ]]; then echo "== $stage_title"; fi
}

# check NAME COMMAND…: counts as one test.
check() {
  local name=$1 status=run
  shift
  "$@" || status=fail
  echo "<testsuite><testcase name=\"$name\" status=\"$status\"/></testsuite>" > "$results/$name.xml"
}

# run_tests PRESET FOLDER [CTEST OPTION]…: tests labelled mpi and cluster take the machine for themselves (RUN_SERIAL). Threads that
# wait let others work: tests run beside one another.
run_tests() {
  local preset=$1 folder=$2
  shift 2
  stage "Testing $folder ($preset)"
  OMP_WAIT_POLICY=passive ctest --test-dir "$folder" --output-on-failure --parallel "$(nproc)" --output-junit "$results/$preset.xml" "$@" || true
}

configure() {
  stage "Configuring preset $1"
  cmake --preset "$@"
}

build() {
  stage "Building preset $1"
  cmake --build --preset "$1"
}

stage "Setting up"
if [[ $quick == yes ]]; then ./launch/setup.sh --tests; else ./launch/setup.sh --tests --slim; fi
cache=${LOCKSTEP_CACHE:-~/.cache/lockstep}

stage "Checking the format"
check Lint.Format python3 tests/lint/format.py
stage "Checking the scripts"
check Lint.Shellcheck python3 tests/lint/shell.py

configure release
if [[ $quick == no ]]; then
  # Together at most about eight minutes; what they leave out is left to tests/thorough.sh.
  stage "Compiling alone what changed"
  check Lint.CompileAlone python3 tests/lint/alone.py --changed --seconds 150
  stage "clang-tidy on what changed"
  check Lint.Tidy python3 tests/lint/tidy.py --changed --seconds 270
fi
build release
run_tests release build --label-exclude cluster
# A Slurm of one machine, started for the test, sometimes refuses a step while the one before is still ending: tried again then.
run_tests cluster build --label-regex cluster --repeat until-pass:3
# Developers' machines have CUDA and would otherwise never see the build that other machines make.
# It takes a quarter of the whole: on slow machines it is left to another run, so that this one ends in time.
if ((SECONDS > ${LOCKSTEP_TEST_SECONDS:-2400})); then
  stage "The build without CUDA is left out: $((SECONDS / 60)) minutes have passed (LOCKSTEP_TEST_SECONDS)"
elif [[ $quick == no ]] && grep -q '^LOCKSTEP_CUDA_FOUND:INTERNAL=ON' build/CMakeCache.txt; then
  torch_version=${LOCKSTEP_TORCH_VERSION:-$(awk '/^[0-9]/ { print $1; exit }' cmake/libtorch_versions.txt)}
  configure no-cuda -DLOCKSTEP_LIBTORCH="$cache/libtorch-$torch_version-slim"
  build no-cuda
  # Long tests that drive the same program once more are left out.
  run_tests no-cuda build-no-cuda --label-regex '^(cpu|mpi)$' --exclude-regex \
    'Torchvision|Pillow|PictureSet|Faults|TrainingRuns|TrainedWeights|SetMatching|Reproducible|Output$|Environment$|OneProcess|Advice|InABrowser'
fi
stage

python3 tests/summary.py "$results"/*.xml
