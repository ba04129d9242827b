#!/bin/bash
# Networks and daemons that fail between two hosts (network namespaces) during a real training.
#   hosts_test.sh SOURCE_FOLDER PROGRAM
set -uo pipefail
source "$1/tests/cluster/two_hosts.sh"
begin_two_hosts_test "$1" "$2"
export MAX_RESTARTS=0
deadline=20  # distributed.timeout_seconds; longer than the 11 s after which mpirun itself gives a dead link up
settings="--set data.file=$folder/set.h5 --set device=cpu --set batch_size=32 --set epochs=1000000 --set early_stopping.enabled=false
  --set distributed.timeout_seconds=$deadline --set checkpoint.every_steps=5"

# begin NAME [OPTIONS]: a training over both hosts, past its first checkpoint; sets shell.
begin() {
  RUN_DIR=$folder/$1 OPTIONS="$settings ${2:-}" on_host a "$script" > "$folder/$1.log" 2>&1 &
  shell=$!
  local tries
  for ((tries = 0; tries < 600; ++tries)); do
    if compgen -G "$folder/$1/checkpoints/*/manifest.json" > /dev/null; then return; fi
    sleep 0.1
  done
  fail "$1 does not train"
}

ranks_of() { pgrep --full "^[^ ]*lockstep train.*$folder/$1 "; }

# expect_gone NAME SECONDS: no rank of it is left by then.
expect_gone() {
  local end=$((SECONDS + $2))
  while ranks_of "$1" > /dev/null; do
    if ((SECONDS > end)); then fail "$1: ranks are left after $2 s: $(ranks_of "$1" | xargs)"; fi
    sleep 0.2
  done
}

# expect_end NAME SECONDS: its script ends, and not well; what it had saved can be gone on from.
expect_end() {
  local end=$((SECONDS + $2))
  while kill -0 "$shell" 2> /dev/null; do
    if ((SECONDS > end)); then fail "$1: mpirun is left after $2 s"; fi
    sleep 0.2
  done
  wait "$shell" && fail "$1 ended as if all were well"
  # Its code also tells of a line of metrics that the end has torn.
  "$PROGRAM" verify "$folder/$1" > "$folder/$1-verify.log"
  grep --quiet "goes on from update" "$folder/$1-verify.log" || fail "$1: nothing to go on from"
}

link() { ip -netns "$space_b" link set eth0 "$1"; }

began=$SECONDS
begin down
link down
expect_gone down $((deadline + 7))
expect_end down 60
link up
echo "a link that goes down: $((SECONDS - began)) s"

began=$SECONDS
begin hole
ip -netns "$space_a" neigh replace "$HOST_B_IP" lladdr 02:00:00:00:00:01 nud permanent dev eth0
expect_gone hole $((deadline + 7))
expect_end hole 60
ip -netns "$space_a" neigh del "$HOST_B_IP" dev eth0
echo "a neighbour that swallows all: $((SECONDS - began)) s"

began=$SECONDS
begin steady "--set limits.steps=200"
wait "$shell" || fail "the undisturbed run"
begin flap "--set limits.steps=200"
link down
sleep 2
link up
wait "$shell" || fail "a link that came back after two seconds ended the run"
tail -c 100000 "$folder/steady/last.safetensors" | cmp - <(tail -c 100000 "$folder/flap/last.safetensors") || fail "other weights"
echo "a link that comes back: $((SECONDS - began)) s"

began=$SECONDS
begin daemon
pkill -KILL --full "orted.*$HOST_B_IP" || pkill -KILL orted || fail "there is no daemon"
expect_gone daemon $((deadline + 7))
expect_end daemon 60
echo "a daemon that dies: $((SECONDS - began)) s"
