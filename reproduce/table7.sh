#!/usr/bin/env bash
# Table 7: CGD against previous work on the four benchmarks.
# Trains 120 runs (24 experiments, 5 seeds) of the paper's four backbones. Needs all four datasets in data/, ImageNet weights
# and a GPU.
# --mini: 7 runs on the embedded benchmark, 3 to 15 minutes on two CPU cores: a small network of the family of each of the
# four, pretrained on other letters, with an eighth of the dimensions.
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
