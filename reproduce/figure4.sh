#!/usr/bin/env bash
# Figure 4: the first result of a query under SM, S and M, each pair explained by all three; how far the maps are spread.
# Trains 3 ResNet-50 runs on CARS196 (Table 5's). Needs CARS196 in data/cars196, ImageNet weights and a GPU.
# --mini: 3 runs of a small network on the embedded benchmark, 1 to 5 minutes on two CPU cores.
# --query N takes this test picture; by default one whose right first result under SM is farthest down under S and M.
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
