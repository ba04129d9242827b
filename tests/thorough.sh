#!/bin/bash
# The checks that are too long for every change; some hours on two cores. Goes on after a part that fails; ends with a table, and with
# code 1 when a part failed. Each part's output stays in build/thorough/.
#
#   tests/thorough.sh [--part NAME]... [--record]
#
#   --part NAME   only this one (may be given again):
#                 - format: every file is formatted
#                 - shellcheck: every script
#                 - alone: every header and every source compiles alone
#                 - tidy: clang-tidy over every source
#                 - asan: unit and two-rank tests with the address and undefined-behaviour sanitizers
#                 - tsan: the same with the thread sanitizer
#                 - faults: every fault during real trainings (docs/faults.md)
#                 - models: every model and depth against PyTorch and torchvision
#                 - gpu: the GPU's tests on four pretended ones
#                 - fuzz: every reader on damaged input, with the sanitizers of asan
#   --record      writes each part's result into docs/measurements.md, under "Thorough checks"
#
#   LOCKSTEP_FUZZ_SECONDS=N   for each reader (default 300)
#   LOCKSTEP_FUZZ_SEED=N      default: another each time, which is printed
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

parts=()
record=no
while (($#)); do
  case $1 in
    --part) parts+=("${2:?--part needs a name (see --help)}"); shift ;;
    --record) record=yes ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "thorough.sh: unknown option '$1' (see --help)" >&2; exit 64 ;;
  esac
  shift
done
if ((${#parts[@]} == 0)); then parts=(format shellcheck alone tidy asan tsan faults models gpu fuzz); fi

# --- The parts: each a list of commands, of which the first that fails ends it. They are called by name. ---
# shellcheck disable=SC2329
{
  run_format() { python3 tests/lint/format.py; }
  run_shellcheck() { python3 tests/lint/shell.py; }
  run_alone() {
    cmake --preset release
    python3 tests/lint/alone.py
  }
  run_tidy() {
    cmake --preset release
    python3 tests/lint/tidy.py
  }
  # sanitize PRESET: the tests are those of the test preset in CMakePresets.json.
  sanitize() {
    # The thread sanitizer of GCC 12 knows only memory layouts with little randomness, in its programs and in what starts them.
    local calm=(setarch "$(uname -m)" --addr-no-randomize)
    if ! "${calm[@]}" true 2> /dev/null; then calm=(); fi
    cmake --preset "$1"
    "${calm[@]}" cmake --build --preset "$1"
    "${calm[@]}" ctest --preset "$1"
  }
  run_asan() { sanitize asan; }
  run_tsan() { sanitize tsan; }
  run_faults() {
    cmake --preset release
    cmake --build --preset release --target lockstep
    tests/faults/run_all.sh
  }
  run_models() {
    cmake --preset release
    cmake --build --preset release --target model_probe
    LOCKSTEP_ALL_MODELS=1 ctest --preset release --tests-regex '^Models\.'
  }
  run_gpu() {
    cmake --preset release
    cmake --build --preset release --target test_pretended_gpu
    GTEST_COLOR=no OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 LOCKSTEP_PRETENDED_GPUS=4 LOCKSTEP_PRETENDED_DELAY_US=100 \
      mpirun --allow-run-as-root --oversubscribe --bind-to none -np 4 build/test_pretended_gpu
  }
  run_fuzz() {
    cmake --preset asan
    cmake --build --preset asan --target test_fuzz
    LOCKSTEP_FUZZ_SECONDS=${LOCKSTEP_FUZZ_SECONDS:-300} LOCKSTEP_FUZZ_SEED=${LOCKSTEP_FUZZ_SEED:-$EPOCHSECONDS} \
      ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 build-asan/test_fuzz
  }
}

for part in "${parts[@]}"; do
  if [[ $(type -t "run_$part") != function ]]; then echo "thorough.sh: there is no part '$part' (see --help)" >&2; exit 64; fi
done

./launch/setup.sh --tests --slim
logs=build/thorough
mkdir -p "$logs"
table=$(mktemp)
trap 'rm -f "$table"' EXIT
failed=0
for part in "${parts[@]}"; do
  echo "== $part"
  began=$SECONDS
  # Not in a condition, where `set -e` would not hold.
  set +e
  (set -e; "run_$part") 2>&1 | tee "$logs/$part.log"
  code=${PIPESTATUS[0]}
  set -e
  result=passed
  if ((code != 0)); then result=FAILED failed=1; fi
  # The line in which the part's program sums up, if it came so far.
  summary=$(grep -E '^(format-check|shellcheck|compile-alone|clang-tidy|faults): |tests passed, |^\[  (PASSED|FAILED)  \] [0-9]+ test' "$logs/$part.log" |
    tail -n 1 | sed 's/^\[[A-Z ]*\] //; s/^[a-z-]*: //' || true)
  printf '%s\t%s\t%s\t%s\n' "$part" "$result" "${summary:-see $logs/$part.log}" $((SECONDS - began)) >> "$table"
  if [[ $record == yes ]]; then tail -n 1 "$table" | python3 tests/record_thorough.py; fi
done

echo
printf '%-11s %-7s %7s  %s\n' part result seconds summary
while IFS=$'\t' read -r part result summary seconds; do
  printf '%-11s %-7s %7d  %s\n' "$part" "$result" "$seconds" "$summary"
done < "$table"
exit "$failed"
