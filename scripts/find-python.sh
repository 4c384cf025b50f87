#!/bin/sh
# Prints the Python to use: the first one from 3.11 up that can make a virtual environment.
# PYTHON=... names one. With --any, one that cannot make environments (a bare Debian's) will do.
# A shell script, because before it has run there may be no Python to run a better one with.
set -u

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
complete='import ensurepip, venv'
lacking=

for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    "$name" -c "$new_enough" 2>/dev/null || continue
    path=$("$name" -c 'import sys; print(sys.executable)')
    if [ "${1:-}" = --any ] || "$name" -c "$complete" 2>/dev/null; then
        echo "$path"
        exit 0
    fi
    lacking=${lacking:-$path}
done

if [ -n "$lacking" ]; then
    package=$("$lacking" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    echo "$lacking cannot make virtual environments: install the package $package (apt install $package), then try again." >&2
else
    echo "vectus needs Python 3.11 or later, and none was found: install one, or name it (make ... PYTHON=/path/to/python3)." >&2
fi
exit 1
