#!/usr/bin/env bash
# From a bare Debian 12 to a small cluster that trains a recurrent network on real text, loses a
# worker in the middle, goes on, and writes. Builds first; asks nothing; leaves only build/ behind.

if [ $# -gt 0 ]; then
  echo "usage: examples/quickstart.sh   (no arguments; what it does: README.md)"
  case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi
# shellcheck source=cmake/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../cmake/setup.sh"

text_bytes=1100000   # the first quarter of the King James Bible
epochs=3

# ------------------------------------------------------------------------------------ small helpers

say() { printf '== %s\n' "$*"; }

field() {   # NAME: its value in the JSON object on stdin
  sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p; t; s/.*\"$1\": *\([^,}]*\).*/\1/p" | head -n 1
}

objects() { tr -d '\n' | sed 's/} *, *{/}\n{/g'; }   # a JSON array of flat objects, one a line

until_true() {   # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -ge $deadline ] && return 1
    sleep 0.2
  done
}

# ---------------------------------------------------------------------------------------- the story

make_text() {
  bible -f gen1:1-rev22:21 | head -c "$text_bytes" >"$text"
  [ "$(wc -c <"$text")" -eq "$text_bytes" ]
}

nodes_up() {
  [ "$("$rondo" list nodes -o json 2>/dev/null | objects | grep -c '"state": *"alive"')" -eq 2 ]
}

train() {
  "$rondo" train --text "$text" --layers 2 --hidden 128 --stages 2 --replicas 2 --threads 1 \
    --epochs "$epochs" --seed 1 --out "$out/model" -o json >"$events"
}

kill_a_worker() {
  local actor pid
  actor=$("$rondo" list actors -o json | objects | grep '"pid": *[1-9]' | head -n 1)
  pid=$(field pid <<<"$actor")
  [ -n "$pid" ] || rondo_fail "no actor to kill in: $rondo list actors" "$logs/train.log"
  say "kill -9 $pid: the worker of $(field name <<<"$actor"), on $(field node <<<"$actor")"
  kill -KILL "$pid"
  killed=$pid
}

show_event() {   # one line of -o json
  local line=$1 step
  case $(field event <<<"$line") in
    start)
      half=$(($(field steps <<<"$line") / 2))
      say "$(field parameters <<<"$line") parameters, $((half * 2)) steps"
      ;;
    step)
      step=$(field step <<<"$line")
      [ $((step % 100)) -eq 0 ] && printf '   step %-6s loss %-8.4f %.0f tokens/s\n' "$step" \
        "$(field loss <<<"$line")" "$(field tokens_per_s <<<"$line")"
      if [ -z "$killed" ] && [ "$step" -ge "$half" ]; then kill_a_worker; fi
      ;;
    epoch)
      val_loss=$(field val_loss <<<"$line")
      printf '   epoch %s done, validation loss %.4f nats a character\n' \
        "$(field epoch <<<"$line")" "$val_loss"
      ;;
    failure) say "seen: $(field actor <<<"$line") failed: $(field reason <<<"$line")" ;;
    restart)
      restarted=$(field actor <<<"$line")
      say "$restarted runs again after $(field ms <<<"$line") ms;" \
        "the others stayed; on from step $(field step <<<"$line")"
      ;;
  esac
}

follow() {   # until the training run ends
  local line
  : >"$events"
  exec 3<"$events"
  while :; do
    while IFS= read -r line <&3; do show_event "$line"; done
    kill -0 "$trainer" 2>/dev/null || break
    sleep 0.1
  done
  while IFS= read -r line <&3; do show_event "$line"; done
  exec 3<&-
}

with_a_cluster() {
  say "one head and two nodes: rondo up --nodes 2          log: $logs/cluster.log"
  rondo_spawn "$logs/cluster.log" "$rondo" up --nodes 2
  until_true 30 nodes_up || rondo_fail "the cluster did not come up in 30 s" "$logs/cluster.log"
  RONDO_ADDRESS=$(sed -n 's/^ *head *\(ipc:.*\)  (pid.*/\1/p' "$logs/cluster.log")
  export RONDO_ADDRESS
  say "training, 2 stages x 2 replicas, $text_bytes characters    log: $logs/train.log"
  rondo_spawn "$logs/train.log" train
  trainer=$spawned
  follow
  rondo_wait "$trainer" || rondo_fail "training failed" "$logs/train.log"
  [ -n "$restarted" ] || rondo_fail "no restart was reported after the kill of $killed" "$events"
}

rondo_start quickstart
rondo_packages
rondo_build release rondo rondo-train rondo-sample
began=$SECONDS
out="$root/build/quickstart/$(date +%Y%m%d-%H%M%S)-$$"
text="$out/bible.txt" events="$out/train.jsonl" rondo="$build/bin/rondo"
mkdir -p -- "$out"
unset RONDO_ADDRESS
export RONDO_HOME="$tmp/home"   # a cluster of its own: others on this machine are not touched
killed='' restarted='' val_loss='' half=0

rondo_phase "text" make_text
with_a_cluster

say "what it writes:"
"$rondo-sample" "$out/model/best.safetensors" --length 400 --temperature 0.7 --seed 1 |
  fold -s -w 96 | sed 's/^/   /'
cat <<END
== done in $(rondo_took "$began") after the build
   final validation loss   $val_loss nats a character; worker $killed was killed on the way
   checkpoint              $out/model/best.safetensors
   curve                   $out/model/curve.svg
   next:
     ${rondo@Q}-sample ${out@Q}/model/best.safetensors --prime 'In the beginning' --length 1000
     ${rondo@Q}-train --out ${out@Q}/model --resume --epochs $((epochs * 2))
     ${root@Q}/tests/run.sh
END
