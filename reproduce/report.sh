#!/usr/bin/env bash
# A student report's Tables 1 to 3 on pictures of your own: S, G and M alone, S and G combined, and six backbones.
# Trains 12 runs (13 rows, one seed; SG 512 is Table 3's Wide-ResNet50) of deep networks; needs --dataset DIR (a folder a class) or
# FILE.csv, weights and a GPU. --mini: 7 runs of a small network on the embedded benchmark.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
