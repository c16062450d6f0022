#!/usr/bin/env bash
# Sets itself up, then checks the style and runs every test; arguments go to pytest (-k recall, ...).
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
cd "$here/.." || exit 2
python -c 'import pytest, ruff' 2>/dev/null || { echo "installing pytest and ruff into $(command -v python)" >&2 && python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-test.txt; } || exit 2
python -m ruff check . && python -m ruff format --check . || exit 1
exec python -m pytest "$@"
