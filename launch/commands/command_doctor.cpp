// lockstep doctor
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/statvfs.h>
#include <torch/version.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/stopwatch.h"
#include "lockstep/data/image_set/hdf5_file.h"
#include "lockstep/distributed/comm/backends.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/setup/devices.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/session_runner.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

// One line of the report: "ok", or what to do.
struct Finding {
  std::string subject, text, advice;
};

void print(const Finding& finding) {
  say_result(
      "{:<4} {:<12} {}\n", finding.advice.empty() ? "ok" : "!!", finding.subject, finding.text);
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
  return {"/dev/shm",
          fmt::format(
              "{:.1f} GB free on {}", gigabytes, topology.host_names[static_cast<size_t>(host)]),
          gigabytes < 0.5 ? "too small for data.cache=node with CIFAR-10 (0.2 GB): enlarge it "
                            "(docker: --shm-size), or set data.cache=stream"
                          : ""};
}

std::vector<Finding> about_this_host(Session& session) {
  const Topology& topology = session.topology();
  return {
      {"program",
       fmt::format("Lockstep {}, LibTorch {}, HDF5 {}, {}",
                   lockstep_version(),
                   TORCH_VERSION,
                   hdf5_version(),
                   nccl_version().empty() ? "built without NCCL" : "NCCL " + nccl_version()),
       ""},
      {"MPI", fmt::format("{}, {} rank(s)", session.library_version(), topology.world_size), ""},
      {"hosts", fmt::format("{}", fmt::join(topology.host_names, ", ")), ""},
      {"processor", processor_name(), ""}};
}

Finding check_gpus() {
  std::string reason;
  const int gpus = visible_gpus(&reason);
  return {"GPUs",
          gpus > 0 ? fmt::format("{} on this host", gpus) : reason + ": training runs on the CPU",
          ""};
}

int doctor(Session& session) {
  const Topology& topology = session.topology();
  const bool root = topology.rank == 0;
  choose_threads(session);
  Config config;
  DeviceChoice device;
  agree(
      session.control(), "choosing the devices", [&] { device = choose_device(config, session); });
  const std::vector<std::string> devices = device_names(session, device);
  const Finding binding = check_binding(session);
  const auto communicator = session.make_communicator(device.backend, device.device);
  const Finding all_reduce = check_all_reduce(*communicator, device.device);
  const Finding shared_memory = check_shared_memory(session);
  Finding disk;
  agree_on_files(session.control(), "trying the disk", [&] {
    if (root) disk = check_disk();
  });
  agree(session.control(), "telling the findings", [&] {
    if (!root) return;
    for (const Finding& finding : about_this_host(session)) print(finding);
    print(binding);
    print(check_gpus());
    for (int r = 0; r < topology.world_size; ++r)
      print({fmt::format("rank {}", r), devices[static_cast<size_t>(r)], ""});
    print(all_reduce);
    print(disk);
    print(shared_memory);
  });
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

A line that begins with !! says what to do. Exit codes: 0 looked at everything, whatever it found;
64 ranks and devices that cannot work together; 70 internal fault or lost peer; 74 output.
See also: docs/debugging.md.)");
  command->callback([&run] {
    run = [](int* argc, char*** argv) {
      return run_in_session(
          argc, argv, [] {}, doctor);
    };
  });
}

}  // namespace lockstep
