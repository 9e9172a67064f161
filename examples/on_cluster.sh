#!/usr/bin/env bash
# on_cluster.sh NODES PROGRAM [ARGUMENT...]: starts a cluster of its own with so many nodes of one
# processor each, runs the program on it, ends the cluster. The exit code is the program's.

if [ $# -lt 2 ]; then
  echo "usage: examples/on_cluster.sh NODES PROGRAM [ARGUMENT...]" >&2
  exit 2
fi
nodes=$1
shift
rondo=$(dirname -- "$1")/rondo
[ -x "$rondo" ] || rondo=rondo

RONDO_HOME=$(mktemp -d "${TMPDIR:-/tmp}/rondo-example-XXXXXX") || exit 5
export RONDO_HOME
unset RONDO_ADDRESS
finish() {
  "$rondo" down >/dev/null 2>&1
  rm -rf "$RONDO_HOME"
}
trap finish EXIT

"$rondo" up --nodes "$nodes" --cpus 1 --detach >"$RONDO_HOME/up.txt" 2>&1 || {
  code=$?
  cat "$RONDO_HOME/up.txt" >&2
  exit $code
}
RONDO_ADDRESS=$("$rondo" status -o json | sed -n 's/.*"address": *"\([^"]*\)".*/\1/p' | head -n 1)
export RONDO_ADDRESS
"$@"
