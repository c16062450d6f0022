#!/usr/bin/env bash
# Table 3: position of the combination, architectures A, B and CGD, on CUB200-2011.
# Trains 15 runs (3 rows, 5 seeds; CGD is Table 4's "Concat") of ResNet-50 on 5,864 pictures; needs CUB200-2011 in data/cub200,
# weights and a GPU. --mini: 3 runs of a small network on the embedded benchmark, 2 minutes on two CPU cores.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
