#!/usr/bin/env bash
# Everything that needs a GPU, unattended: correctness at full size, compute-sanitizer over every kernel, and kiln beside
# PyTorch. The machine needs the driver, and Python with PyTorch and torchvision (timm for MobileNetV1) for the
# comparison; neither Rust nor a network.
#
#   benches/gpu.sh KILN [GPU_TESTS]
#
# KILN is a kiln binary, GPU_TESTS the test binary of tests/gpu.rs (cargo test --release --test gpu --no-run). Reports go
# to the folder $OUT, by default the current one. Models are read from models/ beside this folder.
set -euo pipefail
kiln=$(realpath "${1:?benches/gpu.sh KILN [GPU_TESTS]}")
tests=${2:+$(realpath "$2")}
root=$(realpath "$(dirname "$0")/..")
out=$(realpath "${OUT:-.}")
cd "$root"

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee "$out/device.txt"

if [ -n "$tests" ]; then
  CARGO_MANIFEST_DIR=$root timeout 240 "$tests" --nocapture 2>&1 | tee "$out/agreement.txt"
fi

if command -v compute-sanitizer > "$out/sanitizer.txt"; then
  for tool in memcheck racecheck; do
    for model in "digits" "mobilenet_v1 -D resolution=64" "resnet -D depth=50 -D resolution=64" "bn_inception -D resolution=64"; do
      read -r name defines <<< "$model"
      for precision in f32 tf32 f16; do
        echo "== $tool $model $precision" | tee -a "$out/sanitizer.txt"
        # shellcheck disable=SC2086 # the defines are several words
        timeout 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$kiln" run "models/$name.kiln" $defines \
          --random-weights 1 --backend cuda --precision "$precision" 2>&1 | tail -3 | tee -a "$out/sanitizer.txt"
      done
    done
  done
else
  echo "compute-sanitizer is not installed: not run" | tee "$out/sanitizer.txt"
fi

timeout 300 python3 benches/gpu.py "$kiln" --json "$out/gpu.json" | tee "$out/gpu.txt"
