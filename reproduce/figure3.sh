#!/usr/bin/env bash
# Figure 3: the twelve configurations on the four benchmarks.
# Not there yet.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python -m reproduce "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
