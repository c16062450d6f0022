#!/usr/bin/env bash
# Table 7: CGD against previous work on the four benchmarks.
# Trains 120 runs (24 experiments, 5 seeds) of the paper's four backbones. Needs CUB200-2011, CARS196, SOP and In-shop in data/,
# ImageNet parameters and a GPU. --mini: 7 runs of the paper's own networks on the embedded benchmark, three to ten minutes on two cores.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
