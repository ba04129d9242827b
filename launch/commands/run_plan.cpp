#include "lockstep/launch/commands/run_plan.h"

#include <algorithm>

#include "lockstep/launch/report/words.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

int64_t total_updates(const StartReport& plan, const Config& config) {
  const int64_t all = plan.updates_per_epoch * plan.epochs;
  return config.limits.steps > 0 ? std::min(all, config.limits.steps) : all;
}

}  // namespace

void print_plan(const StartReport& plan,
                const Config& config,
                const ImageStore& store,
                const Topology& topology,
                const std::vector<std::string>& devices,
                const EndReport& end) {
  say_result("model    {}, {}, {} parameters\n", plan.model, plan.precision, plan.parameters);
  for (const std::string& note : plan.notes) say_result("         {}\n", note);
  say_result("world    {} on {}; tensors by {}\n",
             plural(plan.world_size, "rank"),
             plural(topology.num_hosts, "host"),
             plan.backend);
  say_result("data     {}: {} training, {} validation, {} test images\n",
             store.info().path,
             plan.train_images,
             plan.validation_images,
             plan.test_images);
  say_result("         {} MB of images {} (data.cache={})\n",
             store.bytes() / 1'000'000,
             store.cache() == ImageCache::kDevice ? "on each GPU" : "a host",
             name_of(store.cache()));
  say_result("updates  {} of {} images an epoch, {} in all\n",
             plan.updates_per_epoch,
             plan.batch_size,
             total_updates(plan, config));
  for (int rank = 0; rank < topology.world_size; ++rank) {
    const auto index = static_cast<size_t>(rank);
    const auto host = static_cast<size_t>(topology.host_of_rank[index]);
    say_result("rank {:<3} {}, {}: {} images of each full batch; {} MB resident after one update\n",
               rank,
               topology.host_names[host],
               devices[index],
               plan.images_of_rank[index],
               end.peak_resident_bytes[index] / 1'000'000);
  }
  say_result("dry run: one update took {:.2f} s; nothing was written\n", end.seconds);
}

}  // namespace lockstep
