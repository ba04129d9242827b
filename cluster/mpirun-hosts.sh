#!/bin/bash
# Trains with Lockstep on several hosts without a batch system:   cluster/mpirun-hosts.sh
# The hosts need ssh without a password from here, and this folder, the program and the data under the same paths.
# TERM, INT (Ctrl-C) or USR1 to this script let the ranks save; it then ends with code 75: start it again to go on.
# Where ranks are lost it goes on from the newest checkpoint (MAX_RESTARTS). `lockstep launch --hosts` does the same in fewer words.

# ---- edit from here ------------------------------------------------------------------------------------------------
# What is set in the environment wins over these defaults.
HOSTS=${HOSTS:-node1:4,node2:4}        # host:ranks; one rank drives one GPU
NETWORK=${NETWORK:-}                   # the network between the hosts: 10.0.0.0/24 or eth0; empty: Open MPI's own choice
PROGRAM=${PROGRAM:-build/lockstep}
CONFIG=${CONFIG:-}                     # a JSON file; empty: the defaults and OPTIONS
OPTIONS=${OPTIONS:-}                   # more for `lockstep train`: --set data.file=/shared/cifar10.h5
RUN_DIR=${RUN_DIR:-runs/hosts}         # the same at the next start: the run goes on there
THREADS=${THREADS:-4}                  # CPU threads a rank
MPIRUN_OPTIONS=${MPIRUN_OPTIONS:-}     # more for mpirun: -x NCCL_SOCKET_IFNAME=eth0
MAX_RESTARTS=${MAX_RESTARTS:-3}        # after lost ranks, as long as something was saved since the start before
# ---- to here -------------------------------------------------------------------------------------------------------

ranks=0
IFS=, read -ra hosts <<< "$HOSTS"
for host in "${hosts[@]}"; do
  if [[ ! $host =~ :([1-9][0-9]*)$ ]]; then
    echo "HOSTS: '$host' does not say how many ranks it takes; write $host:4" >&2
    exit 64
  fi
  ((ranks += BASH_REMATCH[1]))
done

# Without keepalives mpirun itself can wait for ever for a host whose link is dead.
mca=(--mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3)
if [[ -n $NETWORK ]]; then
  mca+=(--mca oob_tcp_if_include "$NETWORK" --mca btl_tcp_if_include "$NETWORK")
fi

read -d "" -ra options <<< "$OPTIONS"
read -d "" -ra mpirun_options <<< "$MPIRUN_OPTIONS"

# The update of the newest checkpoint; 0: none.
newest_saved() {
  local newest=0 folder
  for folder in "$RUN_DIR"/checkpoints/*; do
    if [[ ${folder##*/} =~ ^[0-9]+$ ]] && ((10#${folder##*/} > newest)); then newest=$((10#${folder##*/})); fi
  done
  echo "$newest"
}

training=
signalled=no stopping=no
# shellcheck disable=SC2329  # the trap below calls it
forward_stop() {
  signalled=yes stopping=yes
  echo "asking the ranks to save and stop" >&2
  if [[ -n $training ]]; then kill -USR2 "$training"; fi
}
trap forward_stop TERM INT USR1

# Ends an mpirun that outlives the ranks of this host by half a minute: over a dead link it may wait for a quarter of an hour.
end_when_idle() {
  local mpirun=$1 worked=no idle=0
  while sleep 5; do
    if pgrep --parent "$mpirun" --full "^$PROGRAM train" > /dev/null; then
      worked=yes idle=0
    elif [[ $worked == yes ]] && ((++idle > 6)); then
      echo "the ranks are gone, but mpirun goes on: ending it" >&2
      kill -KILL "$mpirun"
      return
    fi
  done
}

# Sets code. mpirun gets a process group of its own (set -m), so that Ctrl-C reaches this script alone: mpirun would give the ranks no time
# to save.
train() {
  set -m
  mpirun -np "$ranks" --host "$HOSTS" --bind-to none -x OMP_NUM_THREADS="$THREADS" "${mca[@]}" "${mpirun_options[@]}" \
    "$PROGRAM" train ${CONFIG:+"$CONFIG"} "${options[@]}" --run-dir "$RUN_DIR" --resume < /dev/null &
  training=$!
  end_when_idle "$training" &
  watcher=$!
  wait "$training"
  code=$?
  while [[ $signalled == yes ]]; do  # A trap ends `wait` early.
    signalled=no
    wait "$training"
    code=$?
  done
  kill -- -"$watcher" 2> /dev/null
}

for ((restarts = 0;; ++restarts)); do
  saved_before=$(newest_saved)
  train
  # A rank was killed or crashed (128 + signal) or found a peer lost (70).
  if ((code != 70 && code <= 128)) || [[ $stopping == yes ]]; then break; fi
  if ((restarts >= MAX_RESTARTS || $(newest_saved) <= saved_before)); then break; fi
  echo "ranks were lost (code $code): going on from update $(newest_saved)" >&2
done
if [[ $code == 75 ]]; then echo "state saved in $RUN_DIR: start this script again to go on" >&2; fi
exit "$code"
