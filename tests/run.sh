#!/usr/bin/env bash
# Builds Rondo and runs its tests. TESTING.md has more.

usage() {
  cat <<'END'
usage: tests/run.sh [NAME | --sanitizers | --long | --help]

  (nothing)      release build, then every test that is not labelled `long`
  NAME           one test: a CTest name (a regular expression) or part of a test case's name
  --sanitizers   ASan+UBSan (200 simulator seeds), all but the runs of rondo train; TSan, without
                 actors/ but for its collectives
  --long         the tests labelled `long` as well
END
}

# shellcheck source=cmake/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../cmake/setup.sh"

mode=all name=
case ${1:-} in
  '') ;;
  -h | --help) usage; exit 0 ;;
  --sanitizers) mode=sanitizers ;;
  --long) mode=long ;;
  -*) echo "tests/run.sh: unknown flag $1: see tests/run.sh --help" >&2; exit 2 ;;
  *) mode=one name=$1 ;;
esac
if [ $# -gt 1 ]; then echo "tests/run.sh: one argument at most: see --help" >&2; exit 2; fi

# gcc's ThreadSanitizer cannot place its memory where the kernel moves addresses about a lot.
without_aslr() {
  if setarch -R true 2>/dev/null; then setarch -R "$@"; else "$@"; fi
}

run_ctest() {   # PRESET [ctest's arguments]
  local preset=$1
  shift
  cd -- "$root" && without_aslr ctest --preset "$preset" --parallel "$(rondo_jobs)" "$@"
}

# Some tests measure time, so two copies in one folder take turns.
test_phase() {   # TITLE COMMAND...
  rondo_lock "$build/.testing"
  rondo_phase "$@"
  rondo_unlock
  grep -E '^[0-9]+% tests passed' -- "$rondo_log" | sed 's/^/   /'
}

# The test programs that have a case of that name.
programs_with_case() {
  local program
  for program in "$build"/bin/*_test; do
    "$program" --gtest_list_tests "--gtest_filter=*$name*" 2>/dev/null | grep -q '^  ' &&
      printf '%s\n' "$program"
  done
}

run_case() {   # PROGRAM...
  local program
  for program in "$@"; do "$program" "--gtest_filter=*$name*" || return 1; done
}

rondo_start tests
rondo_packages
case $mode in
  all)
    rondo_build release
    test_phase "tests" run_ctest release
    ;;
  long)
    rondo_build release
    test_phase "tests, long ones too" run_ctest release -LE '^$'
    ;;
  sanitizers)
    for preset in asan tsan; do
      rondo_build $preset
      test_phase "tests under $preset" run_ctest $preset
    done
    ;;
  one)
    rondo_build release
    if ctest --test-dir "$build" -N -R "$name" | grep -q 'Total Tests: [1-9]'; then
      test_phase "tests $name" ctest --test-dir "$build" --output-on-failure --verbose -R "$name"
      grep -E '^[0-9]+: ' -- "$rondo_log" | tail -n 40
    else
      mapfile -t programs < <(programs_with_case)
      if [ ${#programs[@]} -eq 0 ]; then
        rondo_code=2
        rondo_fail "no test and no case is called $name; the list: ctest --test-dir $build -N"
      fi
      test_phase "test cases $name" run_case "${programs[@]}"
      tail -n 40 -- "$rondo_log"
    fi
    ;;
esac
echo "== passed in $(rondo_took "$rondo_began"); logs: $logs"
