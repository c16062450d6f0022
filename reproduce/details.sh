#!/usr/bin/env bash
# Details that the paper leaves open: batches of 4 classes x 32 pictures and frozen batch norm, against our readings.
# Trains 15 runs (3 rows, 5 seeds; 'default' is Table 2's 'Both') of ResNet-50 (SM, 1536) on CARS196, 2,060 steps of 128 pictures
# each. Needs CARS196 in data/cars196, ImageNet weights and a GPU.
# --mini: 3 runs of a small network on the embedded benchmark, 1 to 5 minutes on two CPU cores.
# --small: 6 runs of SqueezeNet 1.1 on half of CARS196, hours on a CPU (docs/real-photographs.md).
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
