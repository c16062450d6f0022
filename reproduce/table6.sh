#!/usr/bin/env bash
# Table 6: five ranking losses under S and SM on CARS196.
# Cannot be trained yet; --report prints the published numbers.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../env.sh" || exit 2
exec python -m reproduce "$(basename "${BASH_SOURCE[0]}" .sh)" "$@"
