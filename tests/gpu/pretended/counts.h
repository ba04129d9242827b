// What a program has asked of the pretended GPU.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace lockstep::pretended {

struct Counts {
  // Work handed to the device: operators, kernels, copies, fills, collectives.
  int64_t operations = 0;
  // Times that the host stood still until the device had done something.
  int64_t synchronisations = 0;
  int64_t bytes_to_device = 0, bytes_to_host = 0;
  std::map<std::string, int64_t> by_name;  // of operations and synchronisations
};

Counts counts();
void reset_counts();

void count_operation(const std::string& name);
void count_synchronisation(const std::string& name);
void count_bytes(int64_t to_device, int64_t to_host);

}  // namespace lockstep::pretended
