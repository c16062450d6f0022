#!/usr/bin/env bash
# Table 6: five ranking losses under configurations S and SM, on CARS196.
# Trains 50 runs (10 rows, 5 seeds) of ResNet-50 on 8,054 pictures; needs CARS196 in data/cars196, weights and a GPU. --mini: 10
# runs of a small network on the embedded benchmark, 4 minutes on two CPU cores.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
