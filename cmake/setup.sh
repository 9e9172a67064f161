# shellcheck shell=bash disable=SC2034
# Sourced by examples/quickstart.sh and tests/run.sh: phases with times and logs, the packages, the
# build, and an end that leaves nothing behind. Only what a bare Debian 12 has is used (bash,
# coreutils, findutils, util-linux, grep, sed).
#
#   rondo_start NAME          names the run; sets $root, $logs, $tmp
#   rondo_packages            installs what packages.txt names and this machine lacks
#   rondo_build PRESET [TARGET...]   configures and builds into build/PRESET; sets $build
#   rondo_phase TITLE CMD...  runs a command with its output in a log; ends the run if it fails
#   rondo_spawn LOG CMD...    starts a command in the background, in its own group; sets $spawned
#   rondo_fail TEXT [LOG]     ends the run: the log's errors, then the one sentence, last

set -u
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P) || exit 5
rondo_children=()
rondo_as_root=()

rondo_start() {
  rondo_name=$1
  rondo_began=$SECONDS
  rondo_mark="$$-$RANDOM$RANDOM"   # in the environment of all we start: how the end finds leftovers
  logs="$root/build/logs/$rondo_name-$(date +%Y%m%d-%H%M%S)-$$"
  mkdir -p -- "$logs" 2>/dev/null || {
    echo "$rondo_name: cannot write to $root/build: make the source folder writable" >&2
    exit 5
  }
  find "$root/build/logs" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf -- {} + 2>/dev/null
  tmp=$(mktemp -d "${TMPDIR:-/tmp}/rondo-$rondo_name.XXXXXX") || exit 5   # short: for sockets
  if [ ! -w "${HOME:-/nonexistent}" ]; then export CCACHE_DIR="$root/build/ccache"; fi
  trap 'rondo_end' EXIT
  trap 'rondo_interrupted 130 Ctrl-C' INT
  trap 'rondo_interrupted 143 TERM' TERM
  trap 'rondo_interrupted 129 HUP' HUP
}

# ---------------------------------------------------------------------------------------- the end

# Ours are the groups that we started, and whatever carries our mark in its environment: ended by
# id, never by name.
rondo_marked() {
  grep -slzx -- "RONDO_SETUP_RUN=$rondo_mark" /proc/[0-9]*/environ 2>/dev/null |
    sed 's|/proc/\([0-9]*\)/.*|\1|'
}

rondo_signal() {   # SIGNAL: to all that is ours
  local id
  for id in "${rondo_children[@]}"; do
    kill "-$1" -- "-$id" || "${rondo_as_root[@]}" kill "-$1" -- "-$id"
  done 2>/dev/null
  for id in $(rondo_marked); do kill "-$1" "$id" 2>/dev/null; done
}

rondo_alive() {
  local id
  for id in "${rondo_children[@]}"; do kill -0 -- "-$id" 2>/dev/null && return 0; done
  [ -n "$(rondo_marked)" ]
}

rondo_end() {
  local code=$? tries
  trap '' INT TERM HUP
  rondo_signal TERM
  for ((tries = 0; tries < 50; ++tries)); do
    rondo_alive || break
    sleep 0.1
  done
  rondo_alive && rondo_signal KILL
  wait 2>/dev/null
  [ -n "${tmp:-}" ] && rm -rf -- "$tmp"
  exit "$code"
}

rondo_interrupted() {
  echo >&2
  echo "$rondo_name: stopped by $2; what it had started is ended" >&2
  exit "$1"
}

rondo_errors=(-e '(: |^)(fatal )?[Ee]rror: ' -e '^E: ' -e 'CMake Error' -e ': Failure$'
  -e 'ERROR: [A-Za-z]*Sanitizer' -e 'WARNING: ThreadSanitizer' -e 'runtime error: '
  -e 'cannot find ' -e 'undefined symbol' -e 'No space left' -e 'Killed')

rondo_cause() {   # LOG: one line, the tests and cases that failed, or the first error
  if grep -q '^The following tests FAILED:' -- "$1"; then
    sed -n '/^The following tests FAILED:/,$ s/^[\t ]*[0-9]* - //p' "$1" | tr '\n' ',' |
      sed 's/,/, /g; s/, $//'
    # Which cases, with the place of the first failed check.
    grep -aoE '\[  FAILED  \] [A-Za-z0-9_/]+\.[A-Za-z0-9_/]+ \(' -- "$1" | cut -c 14- | sort -u |
      head -n 8 | sed 's/ ($//; s/^/; /' | tr -d '\n'
    grep -aoE -m 1 '[^/ ]+:[0-9]+: Failure$' -- "$1" | sed 's/: Failure//; s/^/; first at /' |
      tr -d '\n'
  else
    { grep -aE -m 1 -A 3 "${rondo_errors[@]}" -- "$1" || tail -n 1 -- "$1"; } |
      sed '1{/^CMake Error/!q}' | tr -s '\n ' ' ' | cut -c 1-400
  fi
}

rondo_fail() {   # TEXT [LOG]: shows the first errors, or else the end, and says the cause last
  local cause=
  if [ -n "${2:-}" ] && [ -s "$2" ]; then
    cause=$(rondo_cause "$2")
    {
      echo
      echo "--- from $2"
      grep -anE -m 8 -A 4 "${rondo_errors[@]}" -- "$2" | cut -c 1-400 | head -n 50
      echo "--- its end"
      tail -n 12 -- "$2" | cut -c 1-400
      echo "---"
    } >&2
  fi
  echo "$rondo_name: $1${cause:+: $cause}" >&2
  exit "${rondo_code:-1}"
}

# ----------------------------------------------------------------------------------------- phases

rondo_marked_run() {
  export RONDO_SETUP_RUN=$rondo_mark
  if [ "$(type -t "$1")" = function ]; then "$@"; else exec "$@"; fi
}

rondo_spawn() {
  local log=$1
  shift
  set -m   # a process group of its own, so that the end reaches its children's children
  rondo_marked_run "$@" >>"$log" 2>&1 </dev/null 9>&- &
  spawned=$!
  set +m
  rondo_children+=("$spawned")
}

rondo_wait() {   # the exit status of a spawned command, and forgets it
  wait "$1"
  local code=$? keep=() group
  for group in "${rondo_children[@]}"; do [ "$group" = "$1" ] || keep+=("$group"); done
  rondo_children=("${keep[@]}")
  return $code
}

rondo_took() {
  local s=$((SECONDS - $1))
  printf '%d min %02d s' $((s / 60)) $((s % 60))
}

rondo_phase() {
  local title=$1 began=$SECONDS log
  shift
  log="$logs/$(printf %s "$title" | tr -cs 'A-Za-z0-9' '-').log"
  printf '== %-34s log: %s\n' "$title" "$log"
  rondo_spawn "$log" "$@"
  if ! rondo_wait "$spawned"; then
    rondo_fail "$title failed after $(rondo_took "$began"); log: $log" "$log"
  fi
  rondo_log=$log
  printf '   %-34s %s\n' "$title: done" "$(rondo_took "$began")"
}

# --------------------------------------------------------------------------------------- packages

rondo_wanted_packages() {
  local arch
  arch=$(dpkg --print-architecture)
  sed -e 's/#.*//' "$root/cmake/packages.txt" | while read -r name only; do
    [ -n "$name" ] && { [ -z "$only" ] || [ "$only" = "[$arch]" ]; } && echo "$name"
  done
}

rondo_missing_packages() {
  local have
  have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' | sed -n 's/ installed$//p')
  rondo_wanted_packages | grep -vxF -e "$have"
}

# apt's own option waits for dpkg's lock only; the lists and the archive have locks of their own.
rondo_apt() {
  local tries out="$tmp/apt.out"
  for ((tries = 0; tries < 120; ++tries)); do
    "${rondo_as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
      -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" >"$out" 2>&1
    local code=$?
    cat "$out"
    [ $code -eq 0 ] && return 0
    grep -qE 'Could not get lock|Unable to lock' "$out" || return $code
    echo "apt is locked by another program: waiting"
    sleep 5
  done
  return 1
}

rondo_install() {
  # After a run that was cut off in the middle.
  "${rondo_as_root[@]}" env DEBIAN_FRONTEND=noninteractive dpkg --configure -a
  rondo_apt update || echo "apt-get update failed: going on with the lists that are there"
  rondo_apt install -y --no-install-recommends "$@"
}

rondo_packages() {
  local missing
  command -v dpkg-query >/dev/null || {
    echo "$rondo_name: not Debian: taking for granted what cmake/packages.txt names"
    return
  }
  mapfile -t missing < <(rondo_missing_packages)
  if [ ${#missing[@]} -eq 0 ]; then
    echo "== packages: all $(rondo_wanted_packages | wc -l) are installed"
    return
  fi
  echo "== packages to install with apt-get (Debian's own, from cmake/packages.txt):"
  printf '%s\n' "   ${missing[*]}" | fold -s -w 96
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      rondo_code=5
      rondo_fail "packages are missing and there is no sudo: as root, apt-get install ${missing[*]}"
    fi
    # Asks nothing itself; sudo may want its password where there is somebody to ask.
    if ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && sudo -v; }; then
      rondo_code=5
      rondo_fail "sudo wants a password: first run  sudo apt-get install ${missing[*]}"
    fi
    rondo_as_root=(sudo -n)
  fi
  rondo_phase "install packages" rondo_install "${missing[@]}"
}

# ------------------------------------------------------------------------------------------ build

# The least of a cgroup file's values from our group up to the root, both versions; empty: no limit.
rondo_cgroup() {   # CONTROLLER V1_FILE V2_FILE
  local line path base file value least=
  while IFS= read -r line; do
    case $line in
      0::*) path=${line#0::} base=/sys/fs/cgroup file=$3 ;;
      *:*"$1"*:*) path=${line#*:*:} base=/sys/fs/cgroup/$1 file=$2 ;;
      *) continue ;;
    esac
    while :; do
      value=$(cat "$base$path/$file" 2>/dev/null)
      case $file in
        cpu.max) value=$(set -- $value; [ "${1:-max}" = max ] || echo $((($1 + $2 - 1) / $2))) ;;
        cpu.cfs_quota_us)
          if [ "${value:--1}" -gt 0 ]; then value=$(((value + 99999) / 100000)); else value=; fi ;;
        *) [ "${value:-max}" = max ] && value= ;;
      esac
      if [ -n "$value" ] && { [ -z "$least" ] || [ "$value" -lt "$least" ]; }; then least=$value; fi
      case $path in '' | /) break ;; esac
      path=${path%/*}
    done
  done </proc/self/cgroup
  echo "$least"
}

# One job a core and 1.5 GiB, of what the cgroup and the machine leave us.
rondo_jobs() {
  local cores quota memory limit jobs
  cores=$(nproc)
  quota=$(rondo_cgroup cpu cpu.cfs_quota_us cpu.max)
  memory=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
  limit=$(rondo_cgroup memory memory.limit_in_bytes memory.max)
  if [ -n "$quota" ] && [ "$quota" -lt "$cores" ]; then cores=$quota; fi
  if [ -n "$limit" ] && [ $((limit / 1024)) -lt "$memory" ]; then memory=$((limit / 1024)); fi
  jobs=$((memory / 1536 / 1024))
  [ "$jobs" -gt "$cores" ] && jobs=$cores
  [ "$jobs" -lt 1 ] && jobs=1
  echo "$jobs"
}

# Two copies may run at once: the second waits until the first has built, then has nothing to build.
rondo_lock() {
  exec 9>"$1"
  flock -n 9 && return
  echo "== another copy is busy with $(dirname -- "$1"): waiting for it"
  flock 9
}

rondo_unlock() { exec 9>&-; }

rondo_build() {
  local preset=$1 jobs
  shift
  build="$root/build/$preset"
  jobs=$(rondo_jobs)
  mkdir -p -- "$build"
  rondo_lock "$build/.building"
  # A build folder that was copied or moved here with the tree belongs to another place.
  if [ -f "$build/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$build/CMakeCache.txt"; then
    find "$build" -mindepth 1 -maxdepth 1 ! -name .building -exec rm -rf -- {} +
  fi
  rondo_phase "configure $preset" cmake -S "$root" --preset "$preset" -B "$build" \
    "-DRONDO_WERROR=${RONDO_WERROR:-OFF}"
  rondo_phase "build $preset, $jobs jobs" cmake --build "$build" -j "$jobs" \
    ${1:+--target "$@"}
  rondo_unlock
}
