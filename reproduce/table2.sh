#!/usr/bin/env bash
# Table 2: label smoothing and temperature scaling in the classification loss.
# Trains 4 rows x 5 seeds of ResNet-50 (SM, 1536) on CARS196, 2,060 iterations of 128 pictures each; 'None' is Table 1's 'Both'.
# Needs CARS196 in data/cars196, ResNet-50's ImageNet parameters and a GPU. --mini: 4 runs on glyphs, about two minutes.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
