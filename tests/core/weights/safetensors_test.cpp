#include "lockstep/core/weights/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <random>
#include <string>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes + rest;
}

std::string file_of(const std::string& header, size_t num_data_bytes) {
  return with_length(header.size(), header + std::string(num_data_bytes, '\1'));
}

std::map<std::string, at::Tensor> by_name(const SafetensorsFile& file) {
  return {file.tensors.begin(), file.tensors.end()};
}

std::string refusal(const std::string& bytes) {
  try {
    parse_safetensors(bytes, "w.safetensors");
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), HasSubstr("w.safetensors"));
    return error.what();
  }
}

// A file with one tensor "a" whose entry is `entry`.
std::string refused_entry(const std::string& entry, size_t num_data_bytes = 8) {
  return refusal(file_of(fmt::format(R"({{"a":{}}})", entry), num_data_bytes));
}

// Written by hand from the format's description: float32 [2] {1, -2} and uint8 [3] {1, 2, 3}.
const std::string kHeader =
    R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
    R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
std::string literal_file() {
  const std::string padded = kHeader + std::string((8 - kHeader.size() % 8) % 8, ' ');
  return with_length(padded.size(), padded) +
         std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0\x01\x02\x03", 11);
}

TEST(Safetensors, WritesTheBytesOfAHandWrittenFile) {
  const std::string bytes = safetensors_bytes(
      {{"b", at::tensor({1, 2, 3}, at::kByte)}, {"a", at::tensor({1.0f, -2.0f})}}, {{"k", "v"}});
  // Key order within an entry is free.
  const std::string expected = literal_file();
  ASSERT_EQ(bytes.size(), expected.size());
  EXPECT_EQ(bytes, expected);
}

TEST(Safetensors, ReadsAHandWrittenFile) {
  const SafetensorsFile file = parse_safetensors(literal_file(), "w.safetensors");
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_TRUE(at::equal(by_name(file).at("a"), at::tensor({1.0f, -2.0f})));
  EXPECT_TRUE(at::equal(by_name(file).at("b"), at::tensor({1, 2, 3}, at::kByte)));
  EXPECT_FALSE(by_name(file).contains("c"));
  EXPECT_EQ(file.metadata.at("k"), "v");
}

TEST(Safetensors, ReadsHeadersOfOtherWriters) {
  // No padding, other key order, white space, tensors named in another order than they are stored.
  const SafetensorsFile file = parse_safetensors(
      file_of("{ \"z\" : {\"shape\": [1], \"data_offsets\": [0, 2], \"dtype\": \"F16\"},\n"
              "\"a\":{\"data_offsets\":[2,4],\"dtype\":\"BOOL\",\"shape\":[2,1]}}",
              4),
      "w.safetensors");
  EXPECT_EQ(file.tensors[0].first, "z");
  EXPECT_EQ(by_name(file).at("a").sizes(), (at::IntArrayRef{2, 1}));
  EXPECT_TRUE(file.metadata.empty());
  EXPECT_TRUE(parse_safetensors(file_of("{}", 0), "w").tensors.empty());
}

TEST(Safetensors, RoundTripsEveryDtypeAndShape) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const at::ScalarType dtype : {at::kFloat,
                                     at::kBFloat16,
                                     at::kDouble,
                                     at::kHalf,
                                     at::kLong,
                                     at::kInt,
                                     at::kByte,
                                     at::kBool}) {
    const std::string name = c10::toString(dtype);
    tensors.emplace_back(name, at::arange(6).reshape({2, 3}).remainder(2).to(dtype));
    tensors.emplace_back(name + ".scalar", at::ones({}, at::TensorOptions().dtype(dtype)));
    tensors.emplace_back(name + ".empty", at::ones({3, 0, 2}, at::TensorOptions().dtype(dtype)));
  }
  const float infinity = std::numeric_limits<float>::infinity();
  tensors.emplace_back("extremes \"\xc3\xa9\"", at::tensor({infinity, -0.0f, 1e-45f}));
  const std::map<std::string, std::string> metadata = {{"a", ""}, {"", "line\n\"quoted\""}};
  const std::string bytes = safetensors_bytes(tensors, metadata);
  const SafetensorsFile file = parse_safetensors(bytes, "w.safetensors");
  EXPECT_EQ(file.metadata, metadata);
  EXPECT_EQ(file.tensors.size(), tensors.size());
  const auto read = by_name(file);
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(read.contains(name)) << name;
    const at::Tensor* back = &read.at(name);
    EXPECT_EQ(back->scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(back->sizes(), tensor.sizes()) << name;
    if (tensor.nbytes() > 0) {
      EXPECT_EQ(std::memcmp(back->data_ptr(), tensor.data_ptr(), tensor.nbytes()), 0) << name;
    }
  }
  EXPECT_EQ(safetensors_bytes(file.tensors, file.metadata), bytes);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
}

// As safetensors.torch.save_file writes a batch norm's count of batches and a bfloat16 weight.
TEST(Safetensors, ReadsAStateDictOfPyTorchs) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},)"
      R"("bn1.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("bn1.weight":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}})";
  const std::string data("\x07\0\0\0\0\0\0\0\xc0\x3f", 10);
  const SafetensorsFile file =
      parse_safetensors(with_length(header.size(), header + data), "w.safetensors");
  EXPECT_EQ(file.metadata.at("format"), "pt");
  EXPECT_EQ(by_name(file).at("bn1.num_batches_tracked").dim(), 0);
  EXPECT_EQ(by_name(file).at("bn1.num_batches_tracked").item<int64_t>(), 7);
  EXPECT_EQ(by_name(file).at("bn1.weight").item<float>(), 1.5f);
}

TEST(Safetensors, StoresChannelsLastTensorsInLogicalOrder) {
  const at::Tensor plain = at::arange(24, at::kFloat).reshape({1, 2, 3, 4});
  EXPECT_EQ(safetensors_bytes({{"a", plain.contiguous(at::MemoryFormat::ChannelsLast)}}, {}),
            safetensors_bytes({{"a", plain}}, {}));
}

TEST(Safetensors, RefusesToWriteWhatItCouldNotRead) {
  EXPECT_THROW(safetensors_bytes({{"a", at::ones({1})}, {"a", at::ones({2})}}, {}), Error);
  EXPECT_THROW(safetensors_bytes({{"__metadata__", at::ones({1})}}, {}), Error);
  EXPECT_THROW(safetensors_bytes({{"a", at::ones({1}, at::kComplexFloat)}}, {}), Error);
  EXPECT_THROW(safetensors_bytes({{"\xff", at::ones({1})}}, {}), Error);
  EXPECT_THROW(safetensors_bytes({}, {{"k", "\xff"}}), Error);
}

TEST(Safetensors, RefusesLengthsThatLie) {
  EXPECT_THAT(refusal(""), HasSubstr("too few"));
  EXPECT_THAT(refusal("1234567"), HasSubstr("too few"));
  EXPECT_THAT(refusal(with_length(3, "{}")), HasSubstr("claims 3 bytes"));
  EXPECT_THAT(refusal(with_length(std::numeric_limits<uint64_t>::max(), "{}")),
              HasSubstr("claims"));
  EXPECT_THAT(refusal(with_length(100'000'001, "{}")), HasSubstr("claims"));
  EXPECT_THAT(refusal(with_length(0, "{}")), HasSubstr("does not start with"));
}

TEST(Safetensors, RefusesHeadersThatAreNotJsonObjects) {
  for (const char* header : {" {}", "[]", "{", "{}{}", "{\"a\":NaN}", "{\"a\":1e400}", "null"}) {
    EXPECT_NE(refusal(file_of(header, 0)), "") << header;
  }
  EXPECT_NE(refusal(file_of(std::string("{}\0", 3), 0)), "");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  EXPECT_THAT(refusal(file_of(deep, 0)), HasSubstr("deeper"));
}

TEST(Safetensors, RefusesDuplicateNames) {
  const std::string entry = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(refusal(file_of("{" + entry + "," + entry + "}", 1)), HasSubstr("'a' appears twice"));
}

TEST(Safetensors, RefusesMetadataThatIsNotStrings) {
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{"k":1}})", 0)), HasSubstr("only strings"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":[]})", 0)), HasSubstr("__metadata__ is an array"));
}

TEST(Safetensors, RefusesEntriesThatLie) {
  EXPECT_EQ(refused_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), "");
  EXPECT_THAT(refused_entry("1"), HasSubstr("exactly the keys"));
  EXPECT_THAT(refused_entry(R"({"dtype":"F32","shape":[2]})"), HasSubstr("exactly the keys"));
  EXPECT_THAT(refused_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})"),
              HasSubstr("exactly the keys"));
  for (const char* dtype : {"\"F8_E4M3\"", "\"f32\"", "7", "null", "\"\""}) {
    EXPECT_THAT(
        refused_entry(fmt::format(R"({{"dtype":{},"shape":[2],"data_offsets":[0,8]}})", dtype)),
        HasSubstr("has as its dtype"));
  }
  EXPECT_THAT(refused_entry(R"({"dtype":"F64","shape":[2],"data_offsets":[0,8]})"),
              HasSubstr("needs 16 bytes"));
  for (const char* shape : {"[-2]", "[2.0]", "2", "[\"2\"]", "[9223372036854775808]", "[[2]]"}) {
    EXPECT_THAT(
        refused_entry(fmt::format(R"({{"dtype":"F32","shape":{},"data_offsets":[0,8]}})", shape)),
        HasSubstr("shape that is not a list"));
  }
  // Products that wrap around 64 bits to 8 or to 0.
  for (const char* shape : {"[4611686018427387904,4,2]",
                            "[4611686018427387906]",
                            "[0,4611686018427387904,4611686018427387904]"}) {
    EXPECT_THAT(
        refused_entry(fmt::format(R"({{"dtype":"F32","shape":{},"data_offsets":[0,8]}})", shape)),
        HasSubstr("more than 2^63 bytes"));
  }
  EXPECT_THAT(
      refused_entry(
          R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]})"),
      HasSubstr("17 dimensions"));
  EXPECT_THAT(refused_entry(R"({"dtype":"BOOL","shape":[8],"data_offsets":[0,8]})"), "");
}

TEST(Safetensors, RefusesOffsetsThatLie) {
  for (const char* offsets : {"[8,0]", "[0]", "[0,4,8]", "[-8,0]", "8", "[0.0,8]"}) {
    EXPECT_THAT(
        refused_entry(fmt::format(R"({{"dtype":"F32","shape":[2],"data_offsets":{}}})", offsets)),
        HasSubstr("data_offsets"));
  }
  EXPECT_THAT(refused_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,16]})"),
              HasSubstr("only 8 bytes of data"));
  EXPECT_THAT(
      refused_entry(
          R"({"dtype":"F32","shape":[2],"data_offsets":[9223372036854775799,9223372036854775807]})"),
      HasSubstr("only 8 bytes of data"));
  EXPECT_THAT(refused_entry(R"({"dtype":"U8","shape":[8],"data_offsets":[1,9]})", 9),
              HasSubstr("a hole"));
  EXPECT_THAT(refused_entry(R"({"dtype":"U8","shape":[8],"data_offsets":[0,8]})", 9),
              HasSubstr("but 9 bytes of data follow"));
  const std::string overlapping =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})";
  EXPECT_THAT(refusal(file_of(overlapping, 6)), HasSubstr("they overlap"));
  EXPECT_THAT(refusal(file_of("{}", 1)), HasSubstr("but 1 bytes of data follow"));
}

TEST(Safetensors, RefusesBooleansThatAreNeither) {
  std::string bytes = file_of(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 1);
  bytes.back() = '\2';
  EXPECT_THAT(refusal(bytes), HasSubstr("booleans"));
}

TEST(Safetensors, EveryFlippedByteAndTruncationIsReadOrRefused) {
  const std::string bytes = literal_file();
  for (size_t i = 0; i < bytes.size(); ++i) {
    refusal(bytes.substr(0, i));
    for (int value = 0; value < 256; ++value) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(value);
      refusal(flipped);  // any exception but Error would end the test
    }
    EXPECT_NE(refusal(bytes.substr(0, i)), "") << i;
  }
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string mangled = bytes;
    for (int i = 0; i < 4; ++i) mangled[random() % mangled.size()] = static_cast<char>(random());
    refusal(mangled);
  }
}

TEST(Safetensors, LoadsAFile) {
  const std::string path =
      (std::filesystem::path(testing::TempDir()) / "safetensors_test").string();
  write_file_durably(path, literal_file());
  EXPECT_EQ(load_safetensors(path).tensors.size(), 2u);
  std::filesystem::remove(path);
  EXPECT_THROW(load_safetensors(path), Error);
}

}  // namespace
}  // namespace lockstep
