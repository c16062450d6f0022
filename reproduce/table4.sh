#!/usr/bin/env bash
# Table 4: summation against concatenation of the branches.
# Trains 2 rows x 5 seeds of ResNet-50 (SM, 1536) on CUB200-2011, 1,500 iterations of 128 pictures each.
# Needs CUB200-2011 in data/cub200, ResNet-50's ImageNet parameters and a GPU. --mini: 2 runs on glyphs, about a minute.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
