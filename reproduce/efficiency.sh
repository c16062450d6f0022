#!/usr/bin/env bash
# Section 3.5: time and memory of training and embedding, one CGD against the ensemble of its single-descriptor models.
# Measures 7 models of ResNet-50 with random parameters on this machine, in batches of 128 on a GPU and of 32 on a CPU. --mini: a
# small network, a minute on two CPU cores.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
