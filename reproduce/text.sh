#!/usr/bin/env bash
# What the text claims without a table: removing the stride improves (section 3.1), and both losses train faster and more
# stably than the ranking loss alone (section 3.3).
# Trains 40 runs (4 rows, 10 seeds; three rows are those of Tables 1, 2 and 5) of ResNet-50 (SM, 1536) on CARS196, 2,060 steps
# of 128 pictures each. Needs CARS196 in data/cars196, ImageNet weights and a GPU.
# --mini: 4 runs of a small network on the embedded benchmark, 1 to 5 minutes on two CPU cores.
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
