#!/usr/bin/env bash
# Table 4: summation against concatenation on CUB200-2011.
# Cannot be trained yet; --report prints the published numbers.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python -m reproduce "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
