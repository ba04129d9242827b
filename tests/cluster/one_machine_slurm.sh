# shellcheck shell=bash
# A Slurm cluster of this machine alone, in a temporary folder with its own munge, ports and logs. Sourced by slurm_test.sh.
#
#   slurm_missing           prints why it cannot run here; nothing when it can
#   start_slurm FOLDER      starts it; sets SLURM_CONF
#   stop_slurm              stops what start_slurm started
slurm_daemons=()

slurm_missing() {
  local program
  if [[ $EUID != 0 ]]; then
    echo "only root can start Slurm's daemons"
    return
  fi
  for program in munged slurmctld slurmd sbatch srun; do
    if ! command -v "$program" > /dev/null; then
      echo "$program is not installed (Debian packages slurm-wlm and munge)"
      return
    fi
  done
}

write_slurm_conf() {
  local folder=$1 host=$2 port=$3
  cat > "$folder/slurm.conf" << CONF
ClusterName=lockstep-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0
ReturnToService=2
MpiDefault=none
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

start_slurm() {
  local folder=$1 host port
  host=$(hostname -s)
  port=$((20000 + $$ % 20000))
  mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
  chmod 755 "$folder" "$folder/munge"
  head -c 1024 /dev/urandom > "$folder/munge/key"
  chmod 400 "$folder/munge/key"
  munged --foreground --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" > "$folder/munge/out" 2>&1 &
  slurm_daemons+=($!)
  write_slurm_conf "$folder" "$host" "$port"
  export SLURM_CONF=$folder/slurm.conf
  until [[ -S $folder/munge/socket ]]; do sleep 0.1; done
  slurmctld -D -i > "$folder/slurmctld.out" 2>&1 &
  slurm_daemons+=($!)
  slurmd -D > "$folder/slurmd.out" 2>&1 &
  slurm_daemons+=($!)
  local tries
  for ((tries = 0; tries < 60; ++tries)); do
    if [[ $(sinfo --noheader --format=%T 2> /dev/null) == idle ]]; then return 0; fi
    sleep 0.5
  done
  echo "Slurm did not come up:" >&2
  tail -n 20 "$folder"/*.log "$folder"/*.out >&2
  return 1
}

stop_slurm() {
  local i
  for ((i = ${#slurm_daemons[@]} - 1; i >= 0; --i)); do kill "${slurm_daemons[i]}" 2> /dev/null; done
  for ((i = ${#slurm_daemons[@]} - 1; i >= 0; --i)); do wait "${slurm_daemons[i]}" 2> /dev/null; done
  slurm_daemons=()
}
