#include "lockstep/launch/run/tensorboard_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <type_traits>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// CRC-32C bit by bit, from its definition: the remainder by the polynomial 0x1EDC6F41, each byte's
// lowest bit first.
uint32_t crc32c_by_definition(const std::string& bytes) {
  uint32_t remainder = 0xFFFFFFFF;
  for (const char byte : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const uint32_t in = (static_cast<uint8_t>(byte) >> bit) & 1u;
      const uint32_t top = remainder >> 31;
      remainder = (remainder << 1) ^ (top ^ in ? 0x1EDC6F41u : 0u);
    }
  }
  uint32_t reflected = 0;
  for (int bit = 0; bit < 32; ++bit) reflected |= ((remainder >> bit) & 1u) << (31 - bit);
  return ~reflected;
}

uint32_t mask(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

template <typename T>
T number_at(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

class TensorBoardFileTest : public testing::Test {
 protected:
  std::string file() const { return fs::directory_iterator(folder_.path())->path().string(); }

  // The payloads, after checking each record's frame.
  std::vector<std::string> payloads() const {
    const std::string bytes = read_file(file());
    std::vector<std::string> all;
    for (size_t at = 0; at < bytes.size();) {
      const auto length = number_at<uint64_t>(bytes, at);
      EXPECT_EQ(number_at<uint32_t>(bytes, at + 8),
                mask(crc32c_by_definition(bytes.substr(at, 8))));
      all.push_back(bytes.substr(at + 12, length));
      EXPECT_EQ(number_at<uint32_t>(bytes, at + 12 + length),
                mask(crc32c_by_definition(all.back())));
      at += 16 + length;
    }
    return all;
  }

  const test::TemporaryFolder folder_;
};

TEST(Crc32c, HasItsPublishedCheckValue) {
  EXPECT_EQ(crc32c_by_definition("123456789"), 0xE3069283u);  // RFC 3720, B.4's polynomial
}

TEST_F(TensorBoardFileTest, HasTheNameThatTensorBoardLooksFor) {
  const TensorBoardFile writer(folder_.path(), 0);
  EXPECT_THAT(fs::path(file()).filename().string(), testing::StartsWith("events.out.tfevents."));
}

TEST_F(TensorBoardFileTest, EveryRecordHasItsMaskedChecksums) {
  {
    TensorBoardFile writer(folder_.path(), 0);
    writer.on_step({.epoch = 1, .step = 1, .loss = 2.5, .learning_rate = 0.1});
    writer.on_epoch({.epoch = 1, .step = 1, .validation_loss = 1.5, .validation_accuracy = 0.25});
    writer.on_end(
        {.reason = EndReason::kCompleted, .steps = 1, .test_loss = 1.25, .test_accuracy = 0.5});
  }
  EXPECT_EQ(payloads().size(), 5u);  // file version, session start, and these three
}

TEST_F(TensorBoardFileTest, BeginsWithTheFileVersion) {
  const TensorBoardFile writer(folder_.path(), 0);
  EXPECT_THAT(payloads().at(0),
              testing::EndsWith("\x1a\x0d"
                                "brain.Event:2"));
}

TEST_F(TensorBoardFileTest, HoldsEachScalarUnderItsTag) {
  TensorBoardFile writer(folder_.path(), 0);
  writer.on_epoch({.epoch = 1, .step = 300, .train_loss = 2.5});
  const std::string event = payloads().at(2);
  const float expected = 2.5f;
  const std::string value(reinterpret_cast<const char*>(&expected), sizeof expected);
  // Summary.Value: field 1 (tag), 10 bytes; field 2 (simple_value), a float.
  EXPECT_THAT(event,
              testing::HasSubstr("\x0a\x0a"
                                 "train/loss"
                                 "\x15" +
                                 value));
  EXPECT_THAT(event, testing::HasSubstr("\x10\xac\x02"));  // step 300 as a varint
}

static_assert(!std::is_copy_constructible_v<TensorBoardFile> &&
              !std::is_copy_assignable_v<TensorBoardFile>);

TEST_F(TensorBoardFileTest, AFullDiskIsToldOnceAndLeavesWholeRecords) {
  TensorBoardFile writer(folder_.path(), 0);
  constexpr int64_t kWritten = 20;  // more bytes than the warning has, which the limit concerns too
  for (int64_t step = 1; step <= kWritten; ++step) writer.on_step({.epoch = 1, .step = step});
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit full = before;
  full.rlim_cur = fs::file_size(file()) + 10;  // a part of the next record
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  testing::internal::CaptureStderr();
  writer.on_step({.epoch = 1, .step = kWritten + 1});
  writer.on_step({.epoch = 1, .step = kWritten + 2});
  const std::string warning = testing::internal::GetCapturedStderr();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(warning.find(file()), std::string::npos) << warning;
  EXPECT_EQ(warning.find(file()), warning.rfind(file())) << "said more than once: " << warning;
  writer.on_step({.epoch = 1, .step = kWritten + 3});
  EXPECT_EQ(static_cast<int64_t>(payloads().size()), kWritten + 3);  // also version and start
}

TEST_F(TensorBoardFileTest, AFolderThatIsNotThereIsAnInputOutputError) {
  try {
    const TensorBoardFile writer(folder_ / "missing", 0);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
  }
}

}  // namespace
}  // namespace lockstep
