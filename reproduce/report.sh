#!/usr/bin/env bash
# A student report's Tables 1 to 3 on your own pictures: S, G and M alone, S and G combined, and six backbones.
# Trains 12 runs (13 rows, one seed; SG 512 is Table 3's Wide-ResNet50) of deep networks. Needs your pictures (--dataset DIR,
# with a folder for each class, or FILE.csv), ImageNet weights and a GPU.
# --mini: 10 runs of small networks on the embedded benchmark; --seeds 10 is what REPRODUCE.md has.
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
