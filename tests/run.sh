#!/usr/bin/env bash
# Sets itself up, then checks style and types and runs the tests, a process a core and at most eight; arguments go to pytest
# (-k recall, ...; -m "" for the slow ones too; -n 0 for one process).
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$here/../env.sh" || exit 2
cd "$here/.." || exit 2
python -c 'import pytest, xdist, ruff, mypy, submitit, faiss, onnx, onnxruntime, openvino, flask, waitress, selenium' 2>/dev/null || { echo "installing the test tools into $(command -v python)" >&2 && python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-test.txt; } || exit 2
python -m ruff check . && python -m ruff format --check . && python -m mypy || exit 1
exec python -m pytest -n auto --maxprocesses 8 --dist worksteal "$@"
