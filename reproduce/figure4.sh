#!/usr/bin/env bash
# Figure 4: spatial similarity of a query and its results under SM, S and M.
# Not there yet.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python -m reproduce "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
