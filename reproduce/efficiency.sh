#!/usr/bin/env bash
# Section 3.5: the time and memory of one CGD, in training and embedding, against an ensemble of single-descriptor models.
# Measures 7 ResNet-50 models with random parameters on this machine, in batches of 128 on a GPU and of 32 on a CPU.
# --mini: a small network, 3 to 10 minutes on two CPU cores, the longer time if other programs use them.
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
exec python "$here/__main__.py" "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
