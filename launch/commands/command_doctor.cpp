// lockstep doctor
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/statvfs.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/stopwatch.h"
#include "lockstep/data/image_set/hdf5_file.h"
#include "lockstep/distributed/comm/backends.h"
#include "lockstep/distributed/comm/in_process/in_process_session.h"
#include "lockstep/distributed/comm/launcher.h"
#include "lockstep/distributed/comm/mpi/mpi_version.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/run/stop_signals.h"
#include "lockstep/distributed/setup/devices.h"
#include "lockstep/distributed/setup/gpu_topology.h"
#include "lockstep/distributed/setup/gpus.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/session_trial.h"
#include "lockstep/launch/run/cores.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

// One line of the report, or several: "ok", or what to do.
struct Finding {
  std::string subject, text, advice;
};

std::string indented(const std::string& text) {
  std::string result;
  for (const char c : text) {
    result += c;
    if (c == '\n') result.append(18, ' ');
  }
  return result;
}

void print(const Finding& finding) {
  say_result("{:<4} {:<12} {}\n",
             finding.advice.empty() ? "ok" : "!!",
             finding.subject,
             indented(finding.text));
  if (!finding.advice.empty()) say_result("     {:<12} -> {}\n", "", finding.advice);
}

Finding check_binding(Session& session) {
  const auto cores =
      session.control().all_gather(std::to_string(available_cores()), "counting cores");
  Finding finding{"binding", fmt::format("cores a rank may use: {}", fmt::join(cores, ", ")), ""};
  for (const std::string& count : cores) {
    if (count == "1" && sysconf(_SC_NPROCESSORS_ONLN) > 1) {
      finding.advice =
          "a rank bound to one core shares it with its helper threads: mpirun --bind-to none, or "
          "--map-by slot:PE=n";
    }
  }
  return finding;
}

double all_reduce_seconds(Communicator& communicator,
                          at::Device device,
                          int64_t bytes,
                          int64_t repetitions) {
  const at::Tensor tensor = at::ones({bytes / 4}, at::TensorOptions(device).dtype(at::kFloat)) * 0;
  communicator.all_reduce(tensor, "doctor's all-reduce");
  const Stopwatch stopwatch;
  for (int64_t i = 0; i < repetitions; ++i) communicator.all_reduce(tensor, "doctor's all-reduce");
  (void)tensor.sum().item<float>();  // on a GPU: the end of the queue
  return stopwatch.seconds() / static_cast<double>(repetitions);
}

Finding check_all_reduce(Communicator& communicator, at::Device device) {
  const double small = all_reduce_seconds(communicator, device, 4096, 50);
  const double large = all_reduce_seconds(communicator, device, int64_t{64} << 20, 3);
  return {"all-reduce",
          fmt::format("{}: 4 KiB in {:.0f} us, 64 MiB at {:.2f} GB/s",
                      communicator.backend(),
                      small * 1e6,
                      0.067108864 / large),
          ""};
}

Finding check_disk() {
  const std::string path = fmt::format(".lockstep-doctor-{}", getpid());
  try {
    const std::string megabytes(size_t{16} << 20, 'x');
    const Stopwatch stopwatch;
    write_file_durably(path, megabytes);
    const double seconds = stopwatch.seconds();
    std::remove(path.c_str());
    return {
        "disk",
        fmt::format("16 MiB written durably here in {:.2f} s", seconds),
        seconds > 10
            ? "saving a checkpoint keeps every rank waiting: choose a --run-dir on a faster disk"
            : ""};
  } catch (const Error& error) {
    return {
        "disk", error.what(), "start runs in a folder that can be written to, or give --run-dir"};
  }
}

// Of the host that has least of it.
Finding check_shared_memory(Session& session) {
  struct statvfs space {};
  double gigabytes = 0;
  if (statvfs("/dev/shm", &space) == 0)
    gigabytes = static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize) / 1e9;
  const Topology& topology = session.topology();
  const auto all = session.control().all_gather(std::to_string(gigabytes), "shared memory");
  int host = 0;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    const double found = std::stod(all[rank]);
    if (rank > 0 && found >= gigabytes) continue;
    gigabytes = found;
    host = topology.host_of_rank[rank];
  }
  return {
      "/dev/shm",
      fmt::format(
          "{:.1f} GB free{}",
          gigabytes,
          topology.num_hosts > 1 ? " on " + topology.host_names[static_cast<size_t>(host)] : ""),
      gigabytes < 0.5 ? "too small for data.cache=node with CIFAR-10 (0.2 GB): enlarge it "
                        "(docker: --shm-size), or set data.cache=stream"
                      : ""};
}

// Of what MPI said while it failed, the lines that say something.
std::string essence(const std::string& said) {
  constexpr int kMostLines = 20;
  std::istringstream lines(said);
  std::string text;
  int count = 0;
  for (std::string line; count < kMostLines && std::getline(lines, line);) {
    const bool rule = line.find_first_not_of("-* \t") == std::string::npos;
    const auto has = [&](const char* words) { return line.find(words) != std::string::npos; };
    if (rule || has("***") || has("Local abort")) continue;
    text += "\n" + line;
    ++count;
  }
  return text;
}

// `failure`: why MPI does not start; empty where it did.
Finding check_mpi(Session& session, const std::string& failure) {
  if (failure.empty()) {
    return {"MPI",
            fmt::format("{}, {} rank(s)", session.library_version(), session.topology().world_size),
            ""};
  }
  return {
      "MPI",
      fmt::format("{} does not start:{}", mpi_library_version(), essence(failure)),
      fmt::format("{}; until it starts nothing trains, and what follows was found without it",
                  launcher_of_several() != nullptr
                      ? "start the ranks by what this MPI knows: its own mpirun, or under Slurm "
                        "`srun --mpi=pmix` (see `srun --mpi=list`)"
                      : "look for what it names among your variables (OMPI_…, TMPDIR) and in "
                        "~/.openmpi, or in docs/debugging.md")};
}

std::vector<Finding> about_this_host(Session& session, const std::string& mpi_failure) {
  const Topology& topology = session.topology();
  std::vector<Finding> findings = {
      {"program",
       fmt::format("Lockstep {}, LibTorch {}, HDF5 {}, {}",
                   lockstep_version(),
                   TORCH_VERSION,
                   hdf5_version(),
                   nccl_version().empty() ? "built without NCCL" : "NCCL " + nccl_version()),
       ""},
      check_mpi(session, mpi_failure)};
  if (mpi_failure.empty())
    findings.push_back({"hosts", fmt::format("{}", fmt::join(topology.host_names, ", ")), ""});
  findings.push_back({"processor", processor_name(), ""});
  return findings;
}

Finding check_gpus() {
  std::string reason;
  const int gpus = visible_gpus(&reason);
  if (gpus > 0) {
    return {"GPUs",
            fmt::format("{} on this host; the driver knows CUDA {}, cuDNN {}",
                        gpus,
                        cuda_driver_version(),
                        cudnn_version()),
            ""};
  }
  return {"GPUs",
          reason + ": training runs on the CPU",
          has_gpu_files() ? "this host has a GPU: mend what the line above says to use it" : ""};
}

// How tensors get from one GPU to another.
Finding check_links() {
  const GpuPairs pairs = gpu_pairs();
  const std::vector<std::string> adapters = fast_network_adapters();
  std::string text;
  if (pairs.all > 0)
    text =
        fmt::format("{} of {} pairs of GPUs reach each other directly; ", pairs.direct, pairs.all);
  text += adapters.empty() ? "no InfiniBand or RoCE adapter on this host"
                           : fmt::format("InfiniBand or RoCE: {}", fmt::join(adapters, ", "));
  return {"links",
          text,
          pairs.direct < pairs.all ? "between the others NCCL goes through the host's memory: "
                                     "`nvidia-smi topo -m` shows how they hang together"
                                   : ""};
}

// Each rank's device, and whether its cores are near it.
std::vector<Finding> check_devices(Session& session,
                                   const std::vector<std::string>& devices,
                                   at::Device own) {
  const int node = own.is_cuda() ? numa_node_of_gpu(own) : -1;
  const std::vector<int> near = numa_nodes_of(cores_in(allowed_cores()));
  const bool far = node >= 0 && !near.empty() && std::ranges::find(near, node) == near.end();
  const std::string place = node < 0 ? "" : fmt::format(", NUMA node {}", node);
  const std::string advice =
      far ? fmt::format(
                "its cores are on NUMA node {}: bind ranks near their GPUs (mpirun "
                "--map-by numa, Slurm --gpu-bind=closest)",
                fmt::join(near, ", "))
          : "";
  const auto places = session.control().all_gather(place, "placing GPUs");
  const auto advices = session.control().all_gather(advice, "placing ranks");
  std::vector<Finding> findings;
  for (size_t r = 0; r < devices.size(); ++r)
    findings.push_back({fmt::format("rank {}", r), devices[r] + places[r], advices[r]});
  return findings;
}

int doctor(Session& session, const std::string& mpi_failure) {
  const Topology& topology = session.topology();
  const bool root = topology.rank == 0;
  choose_threads(session);
  Config config;
  DeviceChoice device;
  agree(
      session.control(), "choosing the devices", [&] { device = choose_device(config, session); });
  const std::vector<std::string> devices = device_names(session, device);
  const Finding binding = check_binding(session);
  const std::vector<Finding> ranks = check_devices(session, devices, device.device);
  const auto communicator = session.make_communicator(device.backend, device.device);
  const Finding all_reduce = check_all_reduce(*communicator, device.device);
  const Finding shared_memory = check_shared_memory(session);
  Finding disk;
  agree_on_files(session.control(), "trying the disk", [&] {
    if (root) disk = check_disk();
  });
  agree(session.control(), "telling the findings", [&] {
    if (!root) return;
    for (const Finding& finding : about_this_host(session, mpi_failure)) print(finding);
    print(binding);
    print(check_gpus());
    print(check_links());
    for (const Finding& finding : ranks) print(finding);
    print(all_reduce);
    print(disk);
    print(shared_memory);
  });
  return 0;
}

int run_doctor(int* argc, char*** argv) {
  const SessionTrial trial =
      try_in_session(argc, argv, [](Session& session) { return doctor(session, ""); });
  if (trial.code) return *trial.code;
  if (launcher_rank() > 0) return 0;  // nothing connects the ranks: one of them speaks
  hold_stop_signals();  // mpirun ends, a second later, what belongs to a rank that failed
  Watchdog watchdog(std::chrono::seconds(60));
  run_in_process(1, watchdog, [&](Session& session) { doctor(session, trial.said); });
  return 0;
}

}  // namespace

void add_doctor_command(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand(
      "doctor", "Check MPI, hosts, binding, devices, all-reduce, disk and shared memory");
  command->footer(
      R"(Examples:
  lockstep doctor
  mpirun -np 2 --bind-to none lockstep doctor

A line that begins with !! says what to do. Where MPI does not start, the rest is looked at without
it. Exit codes: 0 looked at everything, whatever it found; 64 ranks and devices that cannot work
together; 70 internal fault or lost peer; 74 output.
See also: docs/debugging.md.)");
  command->callback([&run] { run = run_doctor; });
}

}  // namespace lockstep
