#!/usr/bin/env bash
# Table 5: recall of the combined descriptor and of its branches on CARS196.
# Cannot be trained yet; --report prints the published numbers.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python -m reproduce "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
