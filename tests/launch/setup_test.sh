#!/bin/bash
# launch/setup.sh in environments as people have them: with settings of pip's that say where packages go, and without HOME. Nothing is
# fetched: the packages are empty ones, made here.
#   setup_test.sh SOURCE_FOLDER
set -euo pipefail
source_folder=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if (($(df --output=avail --block-size=1M "$work" | tail -n 1) < 4000)); then
  echo "skipped: setup.sh wants 4000 MB free, and $work has less"
  exit 77
fi

read -r torch cudart cupti _ < <(awk '/^[0-9]/ { print; exit }' "$source_folder/cmake/libtorch_versions.txt")
python3 - "$work/wheels" "torch==$torch" "nvidia_cuda_runtime==$cudart" "nvidia_cuda_cupti==$cupti" << 'PYTHON'
import pathlib
import sys
import zipfile

folder = pathlib.Path(sys.argv[1])
folder.mkdir()
for package in sys.argv[2:]:
    name, version = package.split("==")
    information = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/lib/libtorch_cpu.so", "")
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
PYTHON

# Where packages are found is the user's to say, and comes from the file here.
cat > "$work/pip.conf" << CONF
[global]
no-index = true
[install]
find-links = $work/wheels
user = true
prefix = $work/elsewhere
CONF
unset LOCKSTEP_LIBTORCH LOCKSTEP_TORCH_VERSION PIP_FIND_LINKS
export LOCKSTEP_CACHE=$work/cache
PIP_CONFIG_FILE=$work/pip.conf PIP_USER=1 PIP_TARGET=$work/elsewhere PIP_REQUIRE_VIRTUALENV=1 PIP_CONSTRAINT=$work/none PIP_DRY_RUN=1 \
  "$source_folder/launch/setup.sh" --no-packages --cpu
for package in torch nvidia_cuda_runtime nvidia_cuda_cupti; do
  if [[ ! -d $LOCKSTEP_CACHE/libtorch-$torch-slim/$package ]]; then
    echo "$package did not come to where it belongs" >&2
    exit 1
  fi
done
if [[ -e $work/elsewhere ]]; then echo "something went elsewhere" >&2; exit 1; fi

# Without HOME; CDPATH leads elsewhere from a relative path.
mkdir -p "$work/other/launch"
cd "$source_folder"
env -u HOME -u LOCKSTEP_CACHE LOCKSTEP_LIBTORCH="$work" CDPATH="$work/other" bash launch/setup.sh --no-packages
