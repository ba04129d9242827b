#!/bin/bash
# Every fault of docs/faults.md during real trainings; about half an hour on two cores.
#   tests/faults/run_all.sh [PROGRAM] [MPIRUN]
set -uo pipefail
CDPATH='' cd "$(dirname "$0")/../.." || exit
program=$(realpath "${1:-build/lockstep}")
mpirun=$(command -v "${2:-mpirun}")
export LOCKSTEP_FAULTS=all
passed=0 failed=0 skipped=0

# part NAME COMMAND…
part() {
  local name=$1 began=$SECONDS code result
  shift
  "$@"
  code=$?
  case $code in
    0) result=passed passed=$((passed + 1)) ;;
    77) result=skipped skipped=$((skipped + 1)) ;;
    *) result="FAILED ($code)" failed=$((failed + 1)) ;;
  esac
  echo "== $name: $result, $((SECONDS - began)) s"
}

for test in ranks signals files environment; do part "$test" "tests/faults/${test}_test.py" "$program" "$mpirun"; done
part hosts tests/faults/hosts_test.sh . "$program"
part "kills while saving" tests/faults/kills.py "$program" "$mpirun" --kills 200
part "kills and resizes" tests/faults/kills.py "$program" "$mpirun" --kills 30 --ranks 4,3,4
echo "faults: $passed parts passed, $failed failed, $skipped skipped"
((failed == 0))
