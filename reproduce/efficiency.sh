#!/usr/bin/env bash
# Section 3.5: time and memory of training and embedding, one CGD against the ensemble of its single-descriptor models.
# Measures 7 models of ResNet-50 with random parameters on this machine: 10 minutes on two CPU cores, 1 on a GPU. --mini: a
# small network, half a minute.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python -m reproduce "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
