#include "lockstep/launch/run/tensorboard_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>

namespace lockstep {
namespace {

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string event_file_in(const std::string& folder) {
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  return fmt::format(
      "{}/events.out.tfevents.{}.{}.{}", folder, static_cast<int64_t>(wall_time()), host, getpid());
}

// CRC-32C (Castagnoli), reflected polynomial 0x82F63B78.
uint32_t crc32c(const std::string& bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> entries{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0u);
      entries[i] = c;
    }
    return entries;
  }();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes)
    crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(byte)) & 0xFFu];
  return crc ^ 0xFFFFFFFFu;
}

uint32_t masked_crc(const std::string& bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

template <typename T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value),
                     sizeof value);  // little-endian, as the format
}

// Protocol-buffer fields.
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  return out + static_cast<char>(value);
}
std::string field_bytes(int number, const std::string& bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string field_double(int number, double value) {
  return varint(static_cast<uint64_t>(number) << 3 | 1) + raw(value);
}
std::string field_float(int number, float value) {
  return varint(static_cast<uint64_t>(number) << 3 | 5) + raw(value);
}
std::string field_int(int number, int64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(static_cast<uint64_t>(value));
}

}  // namespace

TensorBoardFile::TensorBoardFile(const std::string& folder, int64_t resumed_step)
    : file_(event_file_in(folder), /*fresh=*/true) {
  write_event(field_double(1, wall_time()) + field_bytes(3, "brain.Event:2"));
  const std::string session_started = field_int(1, 1);  // SessionLog.status = START
  write_event(field_double(1, wall_time()) + field_int(2, resumed_step + 1) +
              field_bytes(7, session_started));
}

void TensorBoardFile::write_event(const std::string& event) {
  const std::string length = raw(static_cast<uint64_t>(event.size()));
  file_.write(length + raw(masked_crc(length)) + event + raw(masked_crc(event)));
}

void TensorBoardFile::write_scalars(int64_t step,
                                    const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    summary += field_bytes(1, field_bytes(1, tag) + field_float(2, static_cast<float>(value)));
  }
  write_event(field_double(1, wall_time()) + field_int(2, step) + field_bytes(5, summary));
}

void TensorBoardFile::on_step(const StepReport& report) {
  write_scalars(report.step,
                {{"train/loss_per_update", report.loss},
                 {"learning_rate", report.learning_rate},
                 {"images_per_second", report.images_per_second},
                 {"data_wait_seconds", report.data_wait_seconds}});
}

void TensorBoardFile::on_epoch(const EpochReport& report) {
  std::vector<std::pair<std::string, double>> scalars = {{"train/loss", report.train_loss},
                                                         {"train/accuracy", report.train_accuracy}};
  if (report.validation_loss) scalars.emplace_back("validation/loss", *report.validation_loss);
  if (report.validation_accuracy)
    scalars.emplace_back("validation/accuracy", *report.validation_accuracy);
  write_scalars(report.step, scalars);
}

void TensorBoardFile::on_end(const EndReport& report) {
  if (report.test_accuracy)
    write_scalars(report.steps,
                  {{"test/loss", *report.test_loss}, {"test/accuracy", *report.test_accuracy}});
}

}  // namespace lockstep
