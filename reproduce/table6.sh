#!/usr/bin/env bash
# Table 6: five ranking losses, each with the configurations S and SM.
# Trains 50 runs (10 rows, 5 seeds) of ResNet-50 (1536) on CARS196, 2,060 steps of 128 pictures each. Needs CARS196 in
# data/cars196, ImageNet weights and a GPU.
# --mini: 10 runs of a small network on the embedded benchmark, 3 to 15 minutes on two CPU cores.
# --small: 30 runs of SqueezeNet 1.1 on half of CARS196, hours on a CPU (docs/real-photographs.md).
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
