#!/bin/bash
# From a fresh clone to a trained model: sets up, builds, makes a small synthetic set, trains on it
# with two ranks and prints the test accuracy. Says what it does, and at the end how long each step
# took. The first time most of it goes into the download (1.2 GB, or 4.7 GB with CUDA) and the build.
#
#   launch/quickstart.sh [--set key=value]...   options go to `lockstep train`
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
if [[ ${1:-} == -h || ${1:-} == --help ]]; then sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0; fi

names=()
starts=()

# step NAME TEXT: begins a step; the one before has ended.
step() {
  names+=("$1")
  starts+=("$SECONDS")
  echo
  echo "== $2"
}

print_times() {
  starts+=("$SECONDS")
  echo
  echo "== Times"
  local i
  for i in "${!names[@]}"; do
    local took=$((starts[i + 1] - starts[i]))
    printf '%-14s %3d min %02d s\n' "${names[i]}" $((took / 60)) $((took % 60))
  done
  printf '%-14s %3d min %02d s\n' "in all" $((SECONDS / 60)) $((SECONDS % 60))
}

step "set-up" "Setting up: Debian packages and LibTorch, where they are missing"
./launch/setup.sh

step "build" "Building build/lockstep with $(nproc) jobs"
mkdir -p build
if ! cmake --preset release > build/configure.log 2>&1; then cat build/configure.log >&2; exit 70; fi
cmake --build build --target lockstep

step "image set" "Making a synthetic image set"
data=runs/quickstart.h5
mkdir -p runs
if [[ ! -f $data ]]; then build/lockstep data synth "$data"; else echo "$data is there already"; fi

# Two ranks: on two GPUs, on one that they share, or on the CPU's cores.
cores=$(nproc)
ranks=(-np 2 --bind-to none)
if [[ $(mpirun --version) == *"Open MPI"* ]]; then  # MPICH's mpirun asks for no leave.
  if ((cores < 2)); then ranks+=(--oversubscribe); fi
  if [[ $EUID == 0 ]]; then ranks+=(--allow-run-as-root); fi
fi
options=()
if grep -q '^LOCKSTEP_CUDA_FOUND:INTERNAL=ON' build/CMakeCache.txt && [[ $(nvidia-smi --list-gpus 2> /dev/null | wc -l) == 1 ]]; then
  options+=(--set distributed.backend=mpi --set distributed.allow_shared_gpu=true)
fi

run=runs/quickstart-$(date +%Y%m%d-%H%M%S)
step "training" "Training with two ranks (run directory: $run)"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > 2 ? cores / 2 : 1))}
mpirun "${ranks[@]}" build/lockstep train launch/recipes/quickstart.json --set data.file="$data" --run-dir "$run" \
  "${options[@]}" "$@"

python3 - "$run" << 'PYTHON'
import json
import sys

with open(f"{sys.argv[1]}/metrics.jsonl") as lines:
    end = [event for event in map(json.loads, lines) if event["event"] == "end"][-1]
print(f"\n== Test accuracy {100 * end['test_accuracy']:.1f} % after {end['epochs']} epochs, {end['seconds']:.0f} s")
PYTHON
print_times
