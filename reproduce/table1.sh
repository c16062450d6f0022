#!/usr/bin/env bash
# Table 1: what the auxiliary classification loss adds to the ranking loss.
# Trains 10 runs (2 rows, 5 seeds; 'Both' is Table 2's 'None') of ResNet-50 (SM, 1536) on CARS196, 2,060 steps of 128 pictures
# each. Needs CARS196 in data/cars196, ImageNet weights and a GPU.
# --mini: 2 runs of a small network on the embedded benchmark, 1 to 3 minutes on two CPU cores.
# --small: 6 runs of SqueezeNet 1.1 on half of CARS196, hours on a CPU (docs/real-photographs.md).
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
