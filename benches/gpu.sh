#!/usr/bin/env bash
# Everything that needs a GPU, unattended, within ten minutes: agreement at full size, kiln beside PyTorch, and
# compute-sanitizer over the kernels of every shipped model. The machine needs the driver, and Python with PyTorch and
# torchvision for the comparison; neither Rust nor a network.
#
#   benches/gpu.sh [--dry-run] KILN [GPU_TESTS]
#
# KILN is a kiln binary, GPU_TESTS the test binary of tests/gpu.rs (cargo test --release --test gpu --no-run). Reports go
# to the folder $OUT, by default the current one; $PYTHON is the Python to use. Models are read from models/ beside this
# folder. Each part has its share of the time; what it does not reach is named in its report. --dry-run does all that
# takes no GPU. Exit code 0: all is well; 1: something failed; 3: there is no GPU.
set -uo pipefail
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
kiln=$(realpath "${1:?benches/gpu.sh [--dry-run] KILN [GPU_TESTS]}") || exit 1
tests=${2:+$(realpath "$2")} || exit 1
root=$(realpath "$(dirname "$0")/..")
out=$(realpath "${OUT:-.}") || exit 1
python=${PYTHON:-python3}
cd "$root" || exit 1
failed=0

# Seconds for each part.
agreement_seconds=140
comparison_seconds=270
sanitizer_seconds=130

# Every shipped model; those that can be made smaller are. ResNet-34 has the kernels of ResNet-18, and ResNet-101 and 152
# those of ResNet-50.
models=(
  "digits" "mobilenet_v1 -D resolution=64" "mobilenet_v1 -D alpha=0.25 -D resolution=96" "mobilenet_v2 -D resolution=64"
  "resnet -D depth=18 -D resolution=64" "resnet -D depth=50 -D resolution=64" "bn_inception -D resolution=64"
  "alexnet" "alexnet_torchvision" "age_net"
)

if [ -z "$dry" ]; then
  # The device, or the sentence that says that there is none.
  "$kiln" profile models/digits.kiln --backend cuda --seconds 0 > "$out/device.txt" || exit $?
  if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem --format=csv,noheader >> "$out/device.txt"
  fi
  cat "$out/device.txt"
fi

# Agreement with the reference interpreter at full size.
if [ -n "$dry" ]; then
  echo "agreement: ${tests:-not run: no test binary was given}"
elif [ -n "$tests" ]; then
  CARGO_MANIFEST_DIR=$root timeout "$agreement_seconds" "$tests" --nocapture 2>&1 | tee "$out/agreement.txt"
  code=${PIPESTATUS[0]}
  [ "$code" = 124 ] && echo "agreement: not finished within $agreement_seconds s" | tee -a "$out/agreement.txt"
  [ "$code" = 0 ] || failed=1
else
  echo "agreement: not run, no test binary was given" | tee "$out/agreement.txt"
fi

# kiln beside PyTorch. The JSON is written after every row.
timeout $((comparison_seconds + 40)) "$python" benches/gpu.py "$kiln" --json "$out/gpu.json" --budget "$comparison_seconds" ${dry:+--dry-run} 2> "$out/gpu.err" |
  tee "$out/gpu.txt"
code=${PIPESTATUS[0]}
# A dry run has said that it has no GPU.
if [ "$code" != 0 ] && ! { [ -n "$dry" ] && [ "$code" = 3 ]; }; then
  tail -3 "$out/gpu.err" >&2
  failed=1
fi

# One run under a tool of compute-sanitizer: a line for it.
sanitize() {
  local tool=$1 precision=$2 name defines code
  read -r name defines <<< "$3"
  local words="run models/$name.kiln $defines --random-weights 1 --backend cuda --precision $precision"
  local left=$((DEADLINE - $(date +%s)))
  if [ "$left" -le 5 ]; then
    echo "$tool $words: not reached in time"
    return
  fi
  # shellcheck disable=SC2086 # the command is several words
  text=$(timeout "$left" compute-sanitizer --tool "$tool" --error-exitcode 9 "$KILN" $words 2>&1)
  code=$?
  case $code in
    0) echo "$tool $words: $(grep SUMMARY <<< "$text" | tail -1)" ;;
    124) echo "$tool $words: not finished in time" ;;
    *) echo "$tool $words: FAILED with exit code $code" && head -40 <<< "$text" ;;
  esac
}
export -f sanitize
export KILN=$kiln

if [ -n "$dry" ]; then
  for model in "${models[@]}"; do
    read -r name defines <<< "$model"
    for precision in f32 tf32 f16; do
      # shellcheck disable=SC2086
      "$kiln" ptx "models/$name.kiln" $defines --target sm_90 --precision "$precision" -o /dev/null || failed=1
    done
  done
  echo "sanitizer: $((2 * 3 * ${#models[@]})) runs planned, compute-sanitizer $(command -v compute-sanitizer || echo 'is not installed')"
elif command -v compute-sanitizer > /dev/null; then
  export DEADLINE=$(($(date +%s) + sanitizer_seconds))
  for tool in memcheck racecheck; do
    for model in "${models[@]}"; do
      for precision in f32 tf32 f16; do
        printf '%s\0%s\0%s\0' "$tool" "$precision" "$model"
      done
    done
  done | xargs -0 -n 3 -P 4 bash -c 'sanitize "$@"' _ | tee "$out/sanitizer.txt"
  grep -q FAILED "$out/sanitizer.txt" && failed=1
else
  echo "sanitizer: not run, compute-sanitizer is not installed" | tee "$out/sanitizer.txt"
fi

if [ -n "$dry" ] && [ "$failed" = 0 ]; then
  echo "a dry run: nothing ran on a GPU" >&2
  exit 3
fi
exit $failed
