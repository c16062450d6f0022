#!/usr/bin/env bash
# A table of our own: descriptors, losses, attention and whitening that are not in the paper, each against the row of the paper's
# method that it extends: S, M or G alone, or SG, its best configuration.
# Trains 115 runs (23 rows, 5 seeds) of ResNet-50 (1536) on CARS196, 2,060 steps of 128 pictures each. Needs CARS196 in
# data/cars196, ImageNet weights and a GPU.
# --mini: 23 runs of a small network on the embedded benchmark, 5 to 25 minutes on two CPU cores; --seeds 10 is what REPRODUCE.md has.
# --small: 69 runs of SqueezeNet 1.1 on half of CARS196, hours on a CPU (docs/real-photographs.md).
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
