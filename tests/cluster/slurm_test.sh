#!/bin/bash
# On a real Slurm of one machine: one process in a shell that srun started, tasks that nothing connects; and cluster/lockstep.sbatch, a job
# under srun, one under mpirun, one that is warned, saves itself, goes back into the queue by itself and finishes as if nothing had
# happened, and one that loses a rank and does the same.
#   slurm_test.sh SOURCE_FOLDER PROGRAM
set -uo pipefail
here=$1/tests/cluster
source "$here/one_machine_slurm.sh"
reason=$(slurm_missing)
if [[ -n $reason ]]; then
  echo "skipped: $reason"
  exit 77
fi

folder=$(mktemp -d /tmp/lockstep-slurm.XXXXXX)
finish() {
  scancel --user=root 2> /dev/null
  stop_slurm
  rm -rf "$folder"
}
trap finish EXIT
fail() {
  echo "FAILED: $*" >&2
  tail -n 40 "$folder"/*.log >&2
  exit 1
}

start_slurm "$folder" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export PROGRAM=$2
"$PROGRAM" data synth "$folder/set.h5" --train 640 --test 100 > "$folder/synth.log" || fail "no synthetic set"
settings="--set data.file=$folder/set.h5 --set device=cpu --set batch_size=32 --set epochs=1000 --set early_stopping.enabled=false
  --set optimizer.learning_rate=0.01"

# submit NAME LAUNCHER STEPS: prints the job's number.
submit() {
  RUN_DIR=$folder/$1 LAUNCHER=$2 OPTIONS="$settings --set limits.steps=$3" sbatch --parsable --nodes=1 --ntasks-per-node=2 \
    --gpus-per-node=0 --cpus-per-task=1 --output="$folder/$1-job.log" "$here/../../cluster/lockstep.sbatch"
}

state_of() { scontrol show job "$1" | grep -o 'JobState=[A-Z_]*' | cut -d= -f2; }

wait_until() {  # wait_until SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    if ((SECONDS > end)); then return 1; fi
    sleep 0.2
  done
}

completed() { [[ $(state_of "$1") == COMPLETED ]]; }
under_way() { (($(cat "$folder/$1/metrics.jsonl" 2> /dev/null | grep -c '"event": *"step"') >= $2)); }
waits_again() { [[ $(scontrol show job "$1") =~ Restarts=1 ]]; }

# One process needs no launcher, whatever srun has set up for the shell that it is started in, once or twice.
read -d "" -ra options <<< "$settings --set limits.steps=1"
for kind in none pmix; do
  # shellcheck disable=SC2016  # for the inner shell to expand
  srun --ntasks=1 --mpi="$kind" bash -c '"$PROGRAM" doctor && exec "$PROGRAM" train "$@"' _ "${options[@]}" \
    --run-dir "$folder/shell-$kind" > "$folder/shell-$kind.log" 2>&1 || fail "a shell of srun --mpi=$kind"
  grep --quiet '^ok   MPI' "$folder/shell-$kind.log" || fail "doctor in a shell of srun --mpi=$kind"
done
srun --ntasks=2 --mpi=pmi2 "$PROGRAM" doctor > "$folder/pmi2.log" 2>&1 || fail "doctor without a PMI that MPI knows"
[[ $(grep -c '^!!   MPI' "$folder/pmi2.log") == 1 ]] || fail "doctor says nothing of that, or more than once"
# Of several that nothing connects each would train alone: refused, and told once. Work for one process is done by one.
srun --ntasks=2 --mpi=none "$PROGRAM" train "${options[@]}" --run-dir "$folder/apart" > "$folder/apart.log" 2>&1
code=$?
[[ $code == 64 && $(grep -c 'srun --mpi=pmix' "$folder/apart.log") == 1 ]] || fail "tasks apart ended with $code"
srun --ntasks=2 --mpi=none "$PROGRAM" data synth "$folder/once.h5" --train 20 --test 10 > "$folder/once.log" 2>&1 ||
  fail "two tasks, one set"

job=$(submit srun srun 4)
wait_until 120 completed "$job" || fail "job $job under srun is $(state_of "$job")"
python3 "$here/check_run.py" "$folder/srun" --ranks 2 --hosts 1 --steps 4 || fail "srun"

job=$(submit mpirun mpirun 4)
wait_until 120 completed "$job" || fail "job $job under mpirun is $(state_of "$job")"
python3 "$here/check_run.py" "$folder/mpirun" --ranks 2 --hosts 1 --steps 4 --losses-as "$folder/srun" || fail "mpirun"

job=$(submit requeued srun 40)
wait_until 120 under_way requeued 3 || fail "job $job does not train"
scancel --batch --signal=USR1 "$job"  # what --signal=B:USR1@120 does two minutes before the end
wait_until 60 waits_again "$job" || fail "job $job did not go back into the queue"
# Slurm refuses a job that starts again within the second in which it was put back ("Job credential revoked"); by itself it would wait two minutes.
sleep 2
scontrol update JobId="$job" StartTime=now
wait_until 180 completed "$job" || fail "requeued job $job is $(state_of "$job")"
python3 "$here/check_run.py" "$folder/requeued" --ranks 2 --hosts 1 --steps 40 || fail "the requeued job"

settings+=" --set checkpoint.every_steps=5"
job=$(submit lost srun 40)
saved() { [[ -d $folder/$1/checkpoints/0000$2 ]]; }
wait_until 120 saved lost 0010 || fail "job $job saves nothing"
pkill -KILL --newest --full "^[^ ]*lockstep train.*$folder/lost "
wait_until 60 waits_again "$job" || fail "job $job, which lost a rank, did not go back into the queue"
sleep 2
scontrol update JobId="$job" StartTime=now
wait_until 180 completed "$job" || fail "job $job, which lost a rank, is $(state_of "$job")"
python3 "$here/check_run.py" "$folder/lost" --ranks 2 --hosts 1 --steps 40 || fail "the job that lost a rank"

job=$(submit cancelled srun 100000)
wait_until 120 under_way cancelled 1 || fail "job $job does not train"
scancel "$job"
gone() { [[ -z $(squeue --noheader --jobs="$job" 2> /dev/null) ]]; }
wait_until 60 gone || fail "job $job does not end"
[[ $(state_of "$job") == CANCELLED ]] || fail "a cancelled job came back: $(state_of "$job")"
echo "srun, mpirun, requeue, lost ranks and cancel work as they should"
