#!/bin/bash
# Installs Lockstep into a prefix: the public headers and nothing else. Builds against it, as any user's project, a program that
# has a core/error.h of its own, and examples/own_loop, whose own module must train to the same weights with one rank, with two,
# and under an MPI that the program has initialised itself.
#   consumer_test.sh SOURCE_FOLDER BUILD_FOLDER LIBTORCH
set -euo pipefail
source_folder=$1
build_folder=$2
work=$build_folder/packaging
export LOCKSTEP_LIBTORCH=$3
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1

rm -rf "$work/prefix"
cmake --install "$build_folder" --prefix "$work/prefix" > /dev/null
if grep -rl "$source_folder\|$build_folder" "$work"/prefix/lib*/cmake/Lockstep; then
  echo "the installed package names the folders of its build" >&2
  exit 1
fi
installed=$(cd "$work/prefix/include/lockstep" && find . -name '*.*' -type f | sed 's|^\./||' | sort)
listed=$(sed -n 's/^  \(.*\.h\)$/\1/p' "$source_folder/cmake/PublicHeaders.cmake" | sort)
if [[ $installed != "$listed" ]]; then
  echo "what is installed differs from cmake/PublicHeaders.cmake:" >&2
  diff <(echo "$installed") <(echo "$listed") >&2
  exit 1
fi

# build FOLDER NAME [CMAKE OPTION]…: a project that knows the install prefix alone.
build() {
  local launcher=()
  if command -v ccache > /dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  cmake -S "$source_folder/$1" -B "$work/$2" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/prefix" \
    "${launcher[@]}" "${@:3}"
  cmake --build "$work/$2"
}

includes=$(while read -r header; do echo "#include <lockstep/$header>"; done <<< "$listed")
build tests/packaging/own_headers own_headers "-DOWN_HEADERS_INCLUDES=$includes"
"$work/own_headers/own_headers"

build examples/own_loop own_loop
program=$work/own_loop/own_loop
# Where another LibTorch is in the way, neither a user's program nor the installed one takes it.
mkdir -p "$work/other"
for name in libtorch_cpu libc10; do cc -shared -x c /dev/null "-Wl,-soname,$name.so" -o "$work/other/$name.so"; done
LD_LIBRARY_PATH=$work/other "$work/prefix/bin/lockstep" --version > /dev/null
LD_LIBRARY_PATH=$work/other "$program" > "$work/one.json"
leave=()
if [[ $(mpirun --version) == *"Open MPI"* ]]; then leave=(--oversubscribe); fi
mpirun "${leave[@]}" -np 2 --bind-to none "$program" > "$work/two.json"
mpirun "${leave[@]}" -np 3 --bind-to none "$program" --own-mpi > "$work/three.json"
python3 - "$work/one.json" "$work/two.json" "$work/three.json" << 'PYTHON'
import json
import sys

one, two, three = (json.load(open(path)) for path in sys.argv[1:])
assert [run["ranks"] for run in (one, two, three)] == [1, 2, 3]
assert one["losses"][-1] < 0.8 * one["losses"][0], f"it does not learn: {one['losses']}"
for run in (two, three):
    for what in ("losses", "weights"):
        difference = max(abs(a - b) for a, b in zip(one[what], run[what], strict=True))
        assert difference < 1e-5, f"{what} differ by {difference} between 1 and {run['ranks']} ranks"
print("equal for 1, 2 and 3 ranks; losses", one["losses"])
PYTHON

# The whole trainer with a module and images of the example's own: as many ranks as one likes, stopped and gone on with.
build examples/own_model own_model
program=$work/own_model/own_model
rm -rf "$work"/run-*
"$program" "$work/run-one"
mpirun "${leave[@]}" -np 3 --bind-to none "$program" "$work/run-three"
rm -r "$work/run-three/checkpoints/00000048"  # as if stopped before the last epoch
mpirun "${leave[@]}" -np 3 --bind-to none "$program" "$work/run-three" --resume
python3 - "$work" << 'PYTHON'
import json
import pathlib
import sys

runs = [pathlib.Path(sys.argv[1]) / name for name in ("run-one", "run-three")]
lines = [[json.loads(line) for line in (run / "metrics.jsonl").open()] for run in runs]
ends = [events[-1] for events in lines]
assert all(end["event"] == "end" and end["reason"] == "completed" for end in ends), ends
assert all(end["test_accuracy"] > 0.95 for end in ends), f"it does not learn: {ends}"
losses = [[e["validation_loss"] for e in events if e["event"] == "epoch"] for events in lines]
difference = max(abs(a - b) for a, b in zip(*losses, strict=True))
assert difference < 1e-4, f"validation losses of 1 and 3 ranks, resumed, differ by {difference}"
for run in runs:
    assert (run / "report.html").stat().st_size > 10000
PYTHON
said=$("$build_folder/lockstep" evaluate "$work/run-one" --data none.h5 2>&1) && exit 1
grep --quiet "not this program's" <<< "$said"
