#!/bin/bash
# Installs what Lockstep needs and is not there yet: Debian packages and LibTorch. Does nothing the second time.
#
#   launch/setup.sh [--tests] [--slim | --cpu] [--torch VERSION] [--no-packages]
#
#   --tests           also what only the tests need: Slurm, network tools, HDF5's tools, TensorBoard's reader, torchvision, safetensors, Chromium, Doxygen,
#                     ImageMagick, formatters and linters
#   --slim            also the LibTorch for machines without CUDA, where the one for CUDA has been chosen
#   --cpu             only that one, whatever the machine has
#   --torch VERSION   this LibTorch of those in cmake/libtorch_versions.txt (default: the first there)
#   --no-packages     no Debian packages: they are there by other means (docs/install.md); never needs root
#
#   LOCKSTEP_TORCH_VERSION=VERSION   the same as --torch; cmake obeys it too
#   LOCKSTEP_LIBTORCH=DIR            use this LibTorch; nothing is downloaded
#   LOCKSTEP_CACHE=DIR               where downloads are kept (default ~/.cache/lockstep)
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
fail() { echo "setup: $*" >&2; exit 69; }

for_tests=no
also_slim=no
only_slim=no
want_packages=yes
wanted_torch=${LOCKSTEP_TORCH_VERSION:-}
while (($# > 0)); do
  case $1 in
    --tests) for_tests=yes ;;
    --slim) also_slim=yes ;;
    --cpu) only_slim=yes ;;
    --torch)
      wanted_torch=${2:-}
      if [[ -z $wanted_torch ]]; then echo "setup.sh: --torch needs a version (see --help)" >&2; exit 64; fi
      shift ;;
    --no-packages) want_packages=no ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup.sh: unknown option '$1' (see --help)" >&2; exit 64 ;;
  esac
  shift
done

cache=${LOCKSTEP_CACHE:-~/.cache/lockstep}  # ~ needs no HOME: bash then asks the system's list of users
# The row of the wanted LibTorch, or the first.
read -r torch_version cuda_runtime_version cupti_version torchvision_version < <(
  awk -v wanted="$wanted_torch" '/^[0-9]/ && (wanted == "" || $1 == wanted) { print; exit }' cmake/libtorch_versions.txt) ||
  { echo "setup.sh: LibTorch $wanted_torch is not in cmake/libtorch_versions.txt" >&2; exit 64; }

# --- Debian packages ---

packages=(g++ cmake ninja-build ccache python3 openmpi-bin libopenmpi-dev libhdf5-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev libcli11-dev libssl-dev libxxhash-dev libarchive-dev libcurl4-openssl-dev libpng-dev zlib1g-dev
  libjpeg62-turbo-dev)
if [[ $for_tests == yes ]]; then packages+=(slurm-wlm munge iproute2 hdf5-tools chromium doxygen imagemagick); fi

# A tool that came some other way serves as well as its package: another MPI's packages would change which one Debian's links
# (its alternatives) name.
has_package() {
  case $1 in
    g++ | cmake | ccache | python3) command -v "$1" > /dev/null && return ;;
    ninja-build) command -v ninja > /dev/null && return ;;
    libopenmpi-dev | openmpi-bin) command -v mpicc > /dev/null && command -v mpirun > /dev/null && return ;;
  esac
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2> /dev/null) == installed ]]
}

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do has_package "$package" || missing+=("$package"); done
  if ! python3 -m pip --version > /dev/null 2>&1; then missing+=(python3-pip); fi
  if ((${#missing[@]} == 0)); then return; fi
  local command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  if ! command -v apt-get > /dev/null; then
    say "this is no Debian: install what these packages hold by other means: ${missing[*]}"
    return
  fi
  local as_root=()
  if [[ $EUID != 0 ]]; then
    if ! sudo -n true 2> /dev/null; then fail "packages are missing and this needs root. Run, then start again:
  sudo sh -c '$command'"; fi
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c "$command" > "$cache/apt.log" 2>&1 ||
    { tail -n 20 "$cache/apt.log" >&2; fail "apt-get failed (log: $cache/apt.log)"; }
}

# --- LibTorch ---

has_cuda() { command -v nvcc > /dev/null || [[ -x /usr/local/cuda/bin/nvcc ]] || command -v nvidia-smi > /dev/null; }

# An installed PyTorch of the right version; cmake/LibTorch.cmake looks for it in the same way.
has_installed_torch() {  # has_installed_torch cuda|cpu
  local version kind folder
  read -r version kind folder < <(python3 cmake/installed_torch.py 2> /dev/null) || return 1
  [[ $version == "$torch_version" && ($kind == cuda || $1 == cpu) ]]
}

# pip, with those of the user's settings (PIP_… in the environment, pip.conf) that say how packages are reached, and none that change
# what is installed or where: --user, a target, a virtual environment, constraints.
pip_for_us() (
  unset PIP_USER PIP_GLOBAL PIP_SITE  # `pip config` would take them for options of its own
  settings=$(python3 -m pip config list 2> /dev/null || true)
  unset "${!PIP_@}"
  export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
  for name in index-url extra-index-url no-index find-links proxy cert client-cert trusted-host timeout default-timeout retries; do
    for place in global install :env:; do  # the later ones win, as in pip
      value=$(sed -n "s/^$place\.$name='\(.*\)'$/\1/p" <<< "$settings")
      variable=PIP_${name^^}
      if [[ -n $value ]]; then export "${variable//-/_}=${value//'\n'/ }"; fi  # lists come as lines
    done
  done
  exec python3 -m pip "$@"
)

# pip_install FOLDER MEGABYTES ARGUMENT…: into a temporary folder that is renamed at the end, so that what is there is whole.
pip_install() {
  local folder=$1 megabytes=$2
  shift 2
  local free
  free=$(df --output=avail --block-size=1M "$cache" | tail -n 1)
  if ((free < megabytes)); then fail "$cache has $free MB free and needs $megabytes (LOCKSTEP_CACHE names another folder)"; fi
  rm -rf "$cache"/unfinished.*
  local unfinished
  unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
  say "fetching ${*} into $folder (log: $cache/pip.log)"
  TMPDIR=$unfinished pip_for_us install --no-cache-dir --target "$unfinished/whole" "$@" > "$cache/pip.log" 2>&1 ||
    { tail -n 20 "$cache/pip.log" >&2; rm -rf "$unfinished"; fail "pip failed (log: $cache/pip.log)"; }
  mv "$unfinished/whole" "$folder"
  rm -rf "$unfinished"
}

# Everything, with CUDA's libraries: 5 GB.
fetch_whole() {
  local folder=$cache/libtorch-$torch_version-whole
  if [[ ! -d $folder ]]; then pip_install "$folder" 12000 "torch==$torch_version" numpy; fi
}

# What a machine without CUDA needs: libtorch_cpu.so and the two libraries of NVIDIA's that it is linked with, 1 GB.
fetch_slim() {
  local folder=$cache/libtorch-$torch_version-slim
  if [[ ! -d $folder ]]; then
    pip_install "$folder" 4000 --no-deps "torch==$torch_version" \
      "nvidia-cuda-runtime==$cuda_runtime_version" "nvidia-cuda-cupti==$cupti_version"
    # The wheel's CUDA half cannot be loaded without the libraries left out.
    rm -f "$folder"/torch/lib/libtorch_{cuda,cuda_linalg,nvshmem}.so "$folder"/torch/lib/libc10_cuda.so
  fi
}

install_libtorch() {
  if [[ -n ${LOCKSTEP_LIBTORCH:-} ]]; then
    say "using LibTorch in $LOCKSTEP_LIBTORCH (LOCKSTEP_LIBTORCH)"
  elif [[ $only_slim == yes ]]; then
    fetch_slim
  elif has_cuda; then
    if ! has_installed_torch cuda; then fetch_whole; fi
  elif ! has_installed_torch cpu; then
    fetch_slim
  fi
  if [[ $also_slim == yes ]]; then fetch_slim; fi
}

# Two set-ups at once would fetch everything twice.
mkdir -p "$cache"
exec 9> "$cache/setup.lock"
if command -v flock > /dev/null; then flock 9; fi

if [[ $want_packages == yes ]]; then install_packages; fi
install_libtorch
if [[ -n $wanted_torch ]]; then say "build with cmake -DLOCKSTEP_TORCH_VERSION=$torch_version"; fi
if [[ $for_tests == yes ]]; then
  if [[ ! -d $cache/test-tools ]]; then pip_install "$cache/test-tools" 500 tensorboard; fi
  # Without its dependencies: the tests use it with the LibTorch above, which is a whole PyTorch.
  torchvision=$cache/torchvision-$torchvision_version
  if [[ ! -d $torchvision ]]; then pip_install "$torchvision" 200 --no-deps "torchvision==$torchvision_version" pillow==13.0.0; fi
  if [[ ! -d $cache/safetensors-0.8.0 ]]; then pip_install "$cache/safetensors-0.8.0" 50 --no-deps safetensors==0.8.0; fi
  # Named after the list, so that another list is another folder.
  lint=$cache/lint-$(sha256sum tests/lint/requirements.txt | head -c 12)
  if [[ ! -d $lint ]]; then pip_install "$lint" 500 --no-deps --requirement tests/lint/requirements.txt; fi
fi
if command -v nvidia-smi > /dev/null && ! command -v nvcc > /dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
  say "there is an NVIDIA driver and no CUDA toolkit (nvcc 13): Lockstep is built for CPUs only until one is installed"
fi
