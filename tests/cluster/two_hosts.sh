# shellcheck shell=bash
# Two hosts on one machine: network namespaces joined by a virtual cable, each with a host name of its own. Sourced by tests.
#
#   two_hosts_missing          prints why it cannot be done here; nothing when it can
#   start_two_hosts FOLDER     makes host-a (10.213.77.1) and host-b (10.213.77.2); sets RSH_AGENT for mpirun's plm_rsh_agent
#   on_host a COMMAND…         runs COMMAND there
#   stop_two_hosts             ends what still runs there and takes both away
#   begin_two_hosts_test SOURCE_FOLDER PROGRAM
#                              skips the test (77) where it cannot be done; else makes both, $folder (removed at the end) with an image set
#                              in it, and the environment of $script, which is cluster/mpirun-hosts.sh
#   fail WORDS…                ends such a test with its logs
HOST_A_IP=10.213.77.1
HOST_B_IP=10.213.77.2
HOSTS_NETWORK=10.213.77.0/24
space_a=lockstep-a-$$
space_b=lockstep-b-$$

two_hosts_missing() {
  if [[ $EUID != 0 ]]; then
    echo "only root can make network namespaces"
  elif ! command -v ip > /dev/null; then
    echo "ip is not installed (Debian package iproute2)"
  elif ! ip netns add "lockstep-try-$$" 2> /dev/null; then
    echo "this machine forbids network namespaces"
  else
    if ! ip netns exec "lockstep-try-$$" unshare --uts hostname try 2> /dev/null; then
      echo "this machine forbids host names of one's own (UTS namespaces)"
    elif ! ip -netns "lockstep-try-$$" link add lockstep-try type veth 2> /dev/null; then
      echo "this machine has no virtual network cables (veth)"
    fi
    ip netns delete "lockstep-try-$$"
  fi
}

start_two_hosts() {
  local folder=$1 space
  ip netns add "$space_a"
  ip netns add "$space_b"
  ip link add eth0 netns "$space_a" type veth peer name eth0 netns "$space_b"
  ip -netns "$space_a" address add "$HOST_A_IP/24" dev eth0
  ip -netns "$space_b" address add "$HOST_B_IP/24" dev eth0
  for space in "$space_a" "$space_b"; do
    ip -netns "$space" link set lo up
    ip -netns "$space" link set eth0 up
  done
  # Called by mpirun as an ssh would be: AGENT HOST COMMAND…
  RSH_AGENT=$folder/rsh-agent
  cat > "$RSH_AGENT" << AGENT
#!/bin/bash
case \$1 in
  $HOST_A_IP) space=$space_a name=host-a ;;
  $HOST_B_IP) space=$space_b name=host-b ;;
  *) exit 255 ;;
esac
shift
exec ip netns exec "\$space" unshare --uts sh -c "hostname \$name; exec \$*"
AGENT
  chmod +x "$RSH_AGENT"
}

on_host() {
  local name=$1 space=space_$1
  shift
  # shellcheck disable=SC2016  # for the inner shell to expand
  ip netns exec "${!space}" unshare --uts sh -c 'hostname "$0"; exec "$@"' "host-$name" "$@"
}

stop_two_hosts() {
  local space
  for space in "$space_a" "$space_b"; do
    ip netns pids "$space" 2> /dev/null | xargs --no-run-if-empty kill -KILL 2> /dev/null
    ip netns delete "$space" 2> /dev/null
  done
}

begin_two_hosts_test() {
  local reason
  reason=$(two_hosts_missing)
  if [[ -n $reason ]]; then
    echo "skipped: $reason"
    exit 77
  fi
  folder=$(mktemp -d /tmp/lockstep-hosts.XXXXXX)
  trap end_two_hosts_test EXIT
  start_two_hosts "$folder" || exit 1
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
  export HOSTS=$HOST_A_IP:1,$HOST_B_IP:1 NETWORK=$HOSTS_NETWORK PROGRAM=$2 THREADS=1
  export MPIRUN_OPTIONS="--mca plm_rsh_agent $RSH_AGENT --mca btl tcp,self -x OMPI_MCA_mpi_yield_when_idle"
  # shellcheck disable=SC2034  # for the test
  script=$1/cluster/mpirun-hosts.sh
  "$PROGRAM" data synth "$folder/set.h5" --train 640 --test 100 > "$folder/synth.log" || fail "no synthetic set"
}

# shellcheck disable=SC2329  # the trap above calls it
end_two_hosts_test() {
  stop_two_hosts
  rm -rf "$folder"
}

fail() {
  echo "FAILED: $*" >&2
  tail -n 40 "$folder"/*.log >&2
  exit 1
}
