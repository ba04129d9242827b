// Every reader of files from elsewhere, on damaged ones: it refuses them by an Error or reads them,
// and does nothing else. A crash or a sanitizer's finding ends the program and leaves the input.
//
//   LOCKSTEP_FUZZ_SECONDS=N   for each reader (default 1)
//   LOCKSTEP_FUZZ_SEED=N      (default 1)
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/data/image_set/image_file.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "lockstep/data/import/archive.h"
#include "lockstep/data/import/idx_import.h"
#include "lockstep/data/pictures/picture.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/distributed/run/run_control.h"
#include "lockstep/launch/report/metrics_reader.h"
#include "lockstep/launch/report/prediction_file.h"
#include "tests/data/image_set/old_format_set.h"
#include "tests/data/small_image_set.h"
#include "tests/data/small_pictures.h"
#include "tests/fuzz/damage.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using test::TemporaryFolder;
using testing::Bytes;
using testing::read_bytes;
using testing::write_bytes;

uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Reader {
  std::vector<std::string> specimens;
  // Gets the path of a file with the bytes, too.
  std::function<void(const std::string& bytes, const std::string& path)> read;
  std::function<void(std::string& bytes)> mend;  // called for half of what is damaged
  ExitCode refusal = ExitCode::kBadData;
  bool forgiving = false;  // hardly refuses anything
};

// What is wrong with how the reader took the bytes; empty: nothing. `refused` counts.
std::string misbehaviour(const Reader& reader,
                         const std::string& bytes,
                         const std::string& path,
                         int64_t& refused) {
  try {
    reader.read(bytes, path);
  } catch (const Error& error) {
    ++refused;
    if (error.code() != reader.refusal) {
      return fmt::format("an Error of code {}: {}", static_cast<int>(error.code()), error.what());
    }
  } catch (const std::exception& error) {
    return fmt::format("an exception that is no Error: {}", error.what());
  }
  return {};
}

// A test of `reader`, in a loop against the clock.
void fuzz(const Reader& reader) {
  const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string path =
      (fs::temp_directory_path() / fmt::format("lockstep-fuzz-{}-{}", name, getpid())).string();
  int64_t refused = 0, rounds = 0;
  for (const std::string& specimen : reader.specimens) {
    write_bytes(path, specimen);
    ASSERT_EQ(misbehaviour(reader, specimen, path, refused), "") << "undamaged";
    ASSERT_EQ(refused, 0) << "an undamaged specimen is refused";
  }
  const uint64_t seed = number_from_environment("LOCKSTEP_FUZZ_SEED", 1);
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::seconds(number_from_environment("LOCKSTEP_FUZZ_SECONDS", 1));
  std::mt19937_64 random(seed);
  for (; rounds < 100 || std::chrono::steady_clock::now() < end; ++rounds) {
    std::string bytes = testing::damage(reader.specimens, random);
    if (reader.mend && random() % 2 == 0) reader.mend(bytes);
    // On the disk before it is read, for it may be the last thing that this process does.
    write_bytes(path, bytes);
    const std::string wrong = misbehaviour(reader, bytes, path, refused);
    if (!wrong.empty()) {
      FAIL() << "round " << rounds << " of seed " << seed << ", kept in " << path << ": " << wrong;
    }
  }
  fs::remove(path);
  std::cout << fmt::format("{}: {} inputs, {} refused (seed {})\n", name, rounds, refused, seed);
  if (!reader.forgiving) {
    EXPECT_GT(refused, rounds / 20) << "hardly any damage reaches what the reader checks";
  }
}

TEST(Fuzz, Json) {
  fuzz({.specimens = {R"({"a":[1,-2.5e3,true,null,"\u00e9\n"],"b":{"c":{"d":[[],{}]}}})",
                      "[0.1, 1e308, \"\xf0\x9f\x98\x80\"]"},
        .read = [](const std::string& bytes, const std::string&) {
          describe_json(parse_strict_json(bytes, "a.json", ExitCode::kBadData));
        }});
}

TEST(Fuzz, Configuration) {
  fuzz({.specimens = {config_to_json(parse_config("", {}, "defaults")),
                      R"({"epochs": 3, "seed": 7})"},
        .read = [](const std::string& bytes,
                   const std::string&) { parse_config(bytes, {}, "a.json"); },
        .refusal = ExitCode::kUsage});
}

TEST(Fuzz, ControlState) {
  fuzz({.specimens = {to_json(ControlState{})},
        .read = [](const std::string& bytes, const std::string&) {
          control_state_from_json(bytes, "state.json");
        }});
}

TEST(Fuzz, Safetensors) {
  fuzz({.specimens = {safetensors_bytes({{"conv1.weight", at::ones({2, 3, 1, 1})},
                                         {"steps", at::tensor({1, 2}, at::kLong)},
                                         {"half", at::ones({4}, at::kBFloat16)}},
                                        {{"format", "pt"}}),
                      safetensors_bytes({{"empty", at::empty({0, 4})}}, {})},
        .read = [](const std::string& bytes,
                   const std::string&) { parse_safetensors(bytes, "a.safetensors"); },
        .mend = testing::mend_safetensors_length});
}

// Behind the manifest the SHA-256 of each file guards its reader.
TEST(Fuzz, CheckpointManifest) {
  const TemporaryFolder run;
  CheckpointContents contents;
  contents.model = {{"w", at::ones({2})}};
  contents.optimizer = {{"momentum/w", at::ones({2})}};
  contents.config_json = "{}";
  save_checkpoint(run.path(), contents, 1);
  const std::string manifest = run / "checkpoints/00000000/manifest.json";
  nlohmann::json older = nlohmann::json::parse(read_bytes(manifest));
  older.erase("digest");  // without it damage reaches the fields
  fuzz({.specimens = {read_bytes(manifest), older.dump()},
        .read = [&](const std::string& bytes, const std::string&) {
          write_bytes(manifest, bytes);
          load_newest_checkpoint(run.path(), [](const std::string&) {});
        }});
}

TEST(Fuzz, Metrics) {
  fuzz(
      {.specimens =
           {
               R"({"event":"start","model":"resnet20","world_size":1,"hosts":["a"],"precision":"fp32"}
{"event":"step","epoch":1,"step":1,"loss":2.5,"learning_rate":0.1,"images_per_second":10,"data_wait_seconds":0}
{"event":"epoch","epoch":1,"step":1,"train_loss":2.5,"train_accuracy":0.5,"validation_loss":2.4,"seconds":3}
{"event":"end","reason":"completed","epochs":1,"test_accuracy":0.5}
)"},
       .read = [](const std::string&, const std::string& path) {
         RunRecord run;
         read_metrics(path, run);
       }});
}

TEST(Fuzz, Predictions) {
  fuzz({.specimens = {R"({"format_version":1,"images":3,"class_names":["ant","bee"],)"
                      R"("confusion":[[1,1],[0,1]],"worst_mistakes":[{"index":2,"label":0,)"
                      R"("predicted":1,"loss":1.5,"label_probability":0.2,"likeliest":)"
                      R"([{"class":1,"probability":0.8}],"picture":"Zm9v"}]})"},
        .read = [](const std::string& bytes, const std::string&) {
          test_predictions_from_json(bytes, "p.json");
        }});
}

std::string text(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

void decode(const std::string& bytes, const std::string&) {
  const Bytes picture(bytes.begin(), bytes.end());
  const PictureHeader header = read_picture_header(picture, "a.png");
  // The damage of a header is often its size; a hundred million pixels take their time.
  if (header.height * header.width > 1'000'000) throw Error(ExitCode::kBadData, "too large here");
  decode_picture(picture, "a.png", 1);
  resize_to_square(decode_picture(picture, "a.png", 3), 28);
}

Bytes bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

TEST(Fuzz, Png) {
  Bytes samples(60);
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = static_cast<uint8_t>(i * 37);
  const auto kind = [&](uint8_t colour_type, uint32_t width, uint32_t height, uint8_t depth) {
    testing::PngParts parts{.width = width,
                            .height = height,
                            .bit_depth = depth,
                            .colour_type = colour_type,
                            .rows = samples};
    if (colour_type == 3) parts.extra_chunks = {{"PLTE", Bytes(3 * 256, 7)}, {"tRNS", {0, 9}}};
    if (colour_type == 2) parts.extra_chunks = {{"eXIf", testing::make_exif(6, true)}};
    if (colour_type == 4)
      parts.extra_chunks = {
          {"tEXt", bytes_of("Raw profile type exif\0\nexif\n 10\n49492a00080000000000"s)}};
    if (colour_type == 6)
      parts.extra_chunks = {
          {"iTXt", bytes_of("XML:com.adobe.xmp\0\0\0\0\0<a tiff:Orientation=\"6\"/>"s)}};
    return text(testing::make_png(parts));
  };
  fuzz({.specimens = {kind(0, 10, 6, 8),
                      kind(2, 4, 5, 8),
                      kind(3, 10, 6, 8),
                      kind(4, 5, 6, 8),
                      kind(6, 3, 5, 8),
                      kind(0, 5, 6, 16)},
        .read = decode,
        .mend = testing::mend_png_checksums});
}

TEST(Fuzz, Jpeg) {
  Bytes samples(40 * 30 * 4);
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = static_cast<uint8_t>(i / 7);
  fuzz({.specimens = {text(testing::make_jpeg(samples, 40, 30, 1)),
                      text(testing::make_jpeg(samples, 40, 30, 3)),
                      text(testing::make_jpeg(samples, 40, 30, 4)),
                      text(testing::make_jpeg(
                          samples, 40, 30, 3, true, testing::make_exif(5, false)))},
        .read = decode});
}

std::string tar(int (*set_format)(archive*), bool gzip) {
  const TemporaryFolder folder;
  archive* writer = archive_write_new();
  set_format(writer);
  if (gzip) archive_write_add_filter_gzip(writer);
  archive_write_open_filename(writer, (folder / "a.tar").c_str());
  for (const auto& [name, size] : {std::pair{"set/one.bin", 700}, {"set/deeper/two.bin", 3}}) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, size);
    archive_write_header(writer, entry);
    const std::string bytes(static_cast<size_t>(size), 'x');
    archive_write_data(writer, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(writer);
  archive_write_free(writer);
  return read_bytes(folder / "a.tar");
}

TEST(Fuzz, Archive) {
  fuzz({.specimens = {tar(archive_write_set_format_pax, false),
                      tar(archive_write_set_format_gnutar, false),
                      tar(archive_write_set_format_pax, true)},
        .read =
            [](const std::string&, const std::string& path) {
              read_archive_members(
                  path, {"one.bin", "two.bin"}, {.member_bytes = 1 << 20, .total_bytes = 1 << 22});
            },
        .mend = testing::mend_tar_checksums});
}

TEST(Fuzz, Idx) {
  const TemporaryFolder folder;
  const std::string images = folder / "train-images-idx3-ubyte";
  const auto header = [](std::string bytes) { return std::string(2, '\0') + std::move(bytes); };
  const std::string two_images =
      header(std::string("\x08\x03\0\0\0\2\0\0\0\x1c\0\0\0\x1c", 14)) + std::string(2 * 784, 'p');
  const std::string two_labels = header(std::string("\x08\x01\0\0\0\2\3\7", 8));
  for (const char* part : {"train", "t10k"}) {
    write_bytes(folder / (std::string(part) + "-images-idx3-ubyte"), two_images);
    write_bytes(folder / (std::string(part) + "-labels-idx1-ubyte"), two_labels);
  }
  fuzz({.specimens = {two_images}, .read = [&](const std::string& bytes, const std::string&) {
          write_bytes(images, bytes);
          import_idx(folder.path(), folder / "out.h5", {.overwrite = true});
        }});
}

// As a run opens it: a child tries the file first, and what the child survives is read here.
TEST(Fuzz, ImageSet) {
  const TemporaryFolder folder;
  testing::write_small_set(folder / "new.h5", 40, 9);
  testing::write_in_old_format(folder / "new.h5", folder / "old.h5");
  fuzz({.specimens = {read_bytes(folder / "old.h5"), read_bytes(folder / "new.h5")},
        .read = [](const std::string&, const std::string& path) {
          probe_image_file(path);
          const ImageFile file(path);
          for (const Split split : {Split::kTrain, Split::kTest}) {
            const std::vector<int32_t> labels = file.read_labels(split);
            for (int64_t i = 0; i < file.info().num_blocks(split); ++i) {
              const int64_t images =
                  std::min(kImagesPerBlock, file.info().count(split) - i * kImagesPerBlock);
              std::vector<uint8_t> block(static_cast<size_t>(images * file.info().image_bytes()));
              file.read_block(split, i, labels, block);
            }
          }
        }});
}

}  // namespace
}  // namespace lockstep
