#!/usr/bin/env bash
# This project against what one would use instead, on this machine: ratios measured in turns, 40 minutes on two cores.
# Makes an environment of the peers' own, .venv-peers, with PyTorch and faiss-cpu (0.9 GB and more, by the build that pip
# finds). --record keeps the table for docs/speed.md; --only WORD, --rounds N: see --help.
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
case " $* " in  # they need neither the peers nor what is measured
    *" --help "*|*" -h "*|*" --write "*) cd "$here/.." && exec python -m benchmarks "$@" ;;
esac
for module in onnxruntime openvino onnx sympy; do
    python -c "import $module" 2>/dev/null ||
        { python -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/../requirements-extra.txt" || exit 2; break; }
done
peers=${GLUON_CGD_PEERS:-$here/../.venv-peers}
if [ ! -x "$peers/bin/python" ] || ! "$peers/bin/python" -c 'import torch, faiss, cv2' 2>/dev/null; then
    echo "installing PyTorch, faiss-cpu and OpenCV into $peers, once" >&2
    { python -m venv "$peers" && "$peers/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements-peers.txt"; } >&2 || exit 2
fi
cd "$here/.." && exec python -m benchmarks --peers "$peers/bin/python" "$@"
