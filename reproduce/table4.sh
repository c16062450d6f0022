#!/usr/bin/env bash
# Table 4: the branches concatenated, against the branches summed.
# Trains 10 runs (2 rows, 5 seeds; 'Concat' is Table 3's 'CGD') of ResNet-50 (SM, 1536) on CUB200-2011, 1,500 steps of 128
# pictures each. Needs CUB200-2011 in data/cub200, ImageNet weights and a GPU.
# --mini: 2 runs of a small network on the embedded benchmark, 1 to 3 minutes on two CPU cores.
# --small: 6 runs of SqueezeNet 1.1 on half of CARS196, hours on a CPU (docs/real-photographs.md).
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
