#!/usr/bin/env bash
# Figure 3: the twelve configurations on the four benchmarks, as box plots over runs.
# Trains 480 ResNet-50 runs (48 boxes, 10 seeds; those on CARS196 are Table 5's). Needs all four datasets in data/,
# ImageNet weights and a GPU.
# --mini: 12 runs of a small network on the embedded benchmark (Table 5's), 3 to 15 minutes on two CPU cores.
# --small: 36 runs of SqueezeNet 1.1 on half of CARS196, hours on a CPU (docs/real-photographs.md).
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
