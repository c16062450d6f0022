#!/usr/bin/env bash
# Figure 4: the first result of a query under SM, S and M, each pair explained by each of them; and how far maps are spread.
# Trains 3 runs of ResNet-50 on CARS196 (Table 5's): needs CARS196 in data/cars196, weights and a GPU. --mini: 3 runs of a small
# network on the embedded benchmark, 2 minutes on two CPU cores. --query N takes a test picture instead of searching for one.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
