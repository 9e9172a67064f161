#!/usr/bin/env bash
# Installs the build into a temporary folder (with a blank in its name) and builds, against that
# copy alone, the program beside this script; then runs it. Arguments: BUILD_DIR CMAKE GENERATOR
set -eu
build=$1 cmake=$2 generator=$3
here=$(cd -- "$(dirname -- "$0")" && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/rondo install.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/usr" >"$work/install.log" || {
  cat -- "$work/install.log"
  exit 1
}
# Nothing of the source tree may be needed: a path into it is a header or library left behind.
source_dir=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt")
if grep -rlF -e "$source_dir/" -- "$work/usr/lib" --include='*.cmake'; then
  echo "install: these files still name $source_dir"
  exit 1
fi
"$cmake" -G "$generator" -S "$here/program" -B "$work/build" "-DCMAKE_PREFIX_PATH=$work/usr" \
  -DCMAKE_BUILD_TYPE=Release
"$cmake" --build "$work/build"
"$work/build/program"
