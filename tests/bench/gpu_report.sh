#!/bin/bash
# What a machine's GPUs do with Lockstep, as one Markdown file: driver, doctor, tests, sanitizer, speed, comparison with PyTorch
# DDP, the speedrun recipe. Needs a build in build/ and what launch/setup.sh --tests installs. Goes on after a section that fails;
# ends with code 1 then.
#
#   tests/bench/gpu_report.sh [FILE]     default: gpu_report.md
#
#   LOCKSTEP_REPORT_MINUTES=N   leaves out what begins after so many minutes (default 60)
#   LOCKSTEP_PROGRAM=FILE       default: build/lockstep
#   LOCKSTEP_CIFAR10=FILE.h5    for the recipe (`lockstep data download cifar10 FILE.h5` makes it); without, the recipe is left out
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/../.."
if [[ ${1:-} == -h || ${1:-} == --help ]]; then sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0; fi

report=${1:-gpu_report.md}
program=${LOCKSTEP_PROGRAM:-build/lockstep}
limit=$((60 * ${LOCKSTEP_REPORT_MINUTES:-60}))
gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU' || true)
failed=0
: > "$report"

# section TITLE COMMAND...: the command's output under a title, as it is where it is a table.
section() {
  local title=$1 code=0 output
  shift
  echo "== $title"
  if ((SECONDS > limit)); then
    printf '## %s\n\nleft out: the %d minutes were over\n\n' "$title" $((limit / 60)) >> "$report"
    return
  fi
  output=$("$@" 2>&1) || code=$?
  if ((code != 0)); then failed=1 title="$title: FAILED with code $code"; fi
  if [[ $output == '|'* ]]; then
    printf '## %s\n\n%s\n\n' "$title" "$output" >> "$report"
  else
    printf '## %s\n\n~~~\n%s\n~~~\n\n' "$title" "$output" >> "$report"
  fi
}

# Called by name.
# shellcheck disable=SC2329
sanitizer() {
  local tool=$1
  shift
  if ! command -v compute-sanitizer > /dev/null; then echo "compute-sanitizer is not installed"; return; fi
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$@" | tail -n 20
}
# shellcheck disable=SC2329
compare() { python3 tests/bench/compare_ddp.py --program "$program" --ranks "$((gpus > 0 ? gpus : 1))" --rounds 3 --steps 200 "$@"; }

# shellcheck disable=SC2329
recipe() {
  local folder
  if [[ -z ${LOCKSTEP_CIFAR10:-} ]]; then echo "LOCKSTEP_CIFAR10 names no image set"; return; fi
  folder=$(mktemp -d)
  "$program" train launch/recipes/cifar94.json --set "data.file=$LOCKSTEP_CIFAR10" --run-dir "$folder/run"
  rm -rf "$folder"
}

{
  echo "# Lockstep on GPUs"
  echo
  echo "$("$program" --version | head -n 1), commit $(git rev-parse --short=12 HEAD 2> /dev/null || echo unknown), $(date -u +%Y-%m-%d)"
  echo
} >> "$report"
section "Driver" nvidia-smi
section "doctor" "$program" doctor
section "Tests" ctest --test-dir build --label-regex '^gpu$' --output-on-failure
section "memcheck" sanitizer memcheck build/test_core_gpu
section "memcheck, batches" sanitizer memcheck build/test_data_gpu
section "racecheck" sanitizer racecheck build/test_gpu --gtest_filter='*BatchNorm*'
section "Speed, recorded" "$program" bench --model resnet20 --model resnet18 --precision bf16 --batch 128
section "Speed, launched" "$program" bench --model resnet20 --model resnet18 --precision bf16 --batch 128 \
  --set distributed.graphs=off
section "Beside PyTorch DDP, ResNet-20" compare --model resnet20 --precision bf16 --batch 128 --batch 512 \
  --against eager --against compile --against graphs
section "Beside PyTorch DDP, larger models" compare --model resnet18 --model vgg16_bn --model googlenet_bn --precision bf16 \
  --batch 512 --against eager --against graphs
section "The speedrun recipe, with its start and its test" recipe
echo "written: $report"
exit "$failed"
