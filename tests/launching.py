"""How tests start ranks: by Open MPI's mpirun or by MPICH's."""

import functools
import subprocess


@functools.cache
def is_open_mpi(mpirun):
    answer = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=60)
    # Its mpiexec calls itself by the name of its launcher.
    return any(name in answer.stdout for name in ("Open MPI", "OpenRTE", "PRRTE"))


def ranks_command(mpirun, ranks):
    """mpirun for so many ranks, also as root and on fewer cores; MPICH's asks for no leave."""
    leave = ["--allow-run-as-root", "--oversubscribe"] if is_open_mpi(mpirun) else []
    return [mpirun, *leave, "--bind-to", "none", "-np", str(ranks)]


def rank_of(environment):
    """The rank that mpirun told a process by its environment; None where it is no rank."""
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        if name in environment:
            return int(environment[name])
    return None
