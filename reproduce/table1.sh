#!/usr/bin/env bash
# Table 1: what the auxiliary classification loss adds to the ranking loss.
# Trains 2 rows x 5 seeds of ResNet-50 (SM, 1536) on CARS196, 2,060 iterations of 128 pictures each; 'Both' is Table 2's 'None'.
# Needs CARS196 in data/cars196, ResNet-50's ImageNet parameters and a GPU. --mini: 2 runs on glyphs, about a minute.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
