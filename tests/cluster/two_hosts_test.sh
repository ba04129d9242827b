#!/bin/bash
# cluster/mpirun-hosts.sh over two hosts (network namespaces): the same losses as one process; and a run that is asked to end saves itself and
# goes on when the script is started again; one that loses a rank goes on by itself.
#   two_hosts_test.sh SOURCE_FOLDER PROGRAM
set -uo pipefail
here=$1/tests/cluster
source "$here/two_hosts.sh"
begin_two_hosts_test "$1" "$2"
settings="--set data.file=$folder/set.h5 --set device=cpu --set batch_size=32 --set epochs=1000 --set early_stopping.enabled=false
  --set optimizer.learning_rate=0.0001 --set distributed.batch_norm=sync --set distributed.timeout_seconds=60"

# At this learning rate rounding does not grow, so that the curves of any two world sizes agree.
read -d "" -ra options <<< "$settings"
"$PROGRAM" train "${options[@]}" --set limits.steps=4 --run-dir "$folder/alone" > "$folder/alone.log" 2>&1 || fail "one process"
RUN_DIR=$folder/hosts OPTIONS="$settings --set limits.steps=4" on_host a "$script" > "$folder/hosts.log" 2>&1 || fail "two hosts"
python3 "$here/check_run.py" "$folder/hosts" --ranks 2 --hosts 2 --steps 4 --losses-as "$folder/alone" || fail "two hosts"

export RUN_DIR=$folder/interrupted OPTIONS="$settings --set limits.steps=40"
on_host a "$script" > "$folder/interrupted.log" 2>&1 &
shell=$!
for ((tries = 0; tries < 300; ++tries)); do
  if (($(cat "$RUN_DIR/metrics.jsonl" 2> /dev/null | grep -c '"event": *"step"') >= 3)); then break; fi
  sleep 0.2
done
pkill -TERM -P "$shell"
wait "$shell"
code=$?
[[ $code == 75 ]] || fail "asked to end, the script ended with $code instead of 75"
on_host a "$script" > "$folder/resumed.log" 2>&1 || fail "the second start"
python3 "$here/check_run.py" "$RUN_DIR" --ranks 2 --hosts 2 --steps 40 || fail "the resumed run"

# A rank is lost.
RUN_DIR=$folder/lost OPTIONS="$settings --set limits.steps=40 --set checkpoint.every_steps=5" \
  on_host a "$script" > "$folder/lost.log" 2>&1 &
shell=$!
for ((tries = 0; tries < 300; ++tries)); do
  if [[ -d $folder/lost/checkpoints/00000010 ]]; then break; fi
  sleep 0.2
done
pkill -KILL --newest --full "^[^ ]*lockstep train.*$folder/lost "
wait "$shell" || fail "after a lost rank the script ended with $?"
grep --quiet "ranks were lost .*: going on from update" "$folder/lost.log" || fail "it does not say that it goes on"
python3 "$here/check_run.py" "$folder/lost" --ranks 2 --hosts 2 --steps 40 || fail "the run that lost a rank"
