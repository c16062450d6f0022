#!/usr/bin/env bash
# Table 5: recall of the combined descriptor and of each branch, the twelve configurations on CARS196.
# Trains 120 runs (12 rows, 10 seeds) of ResNet-50 on 8,054 pictures; needs CARS196 in data/cars196, weights and a GPU. --mini:
# 12 runs of a small network on the embedded benchmark, 5 minutes on two CPU cores.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
