#include "lockstep/core/weights/initial_weights.h"
#include "lockstep/core/nn/image_classifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/core/weights/weights.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

using Tensors = std::map<std::string, at::Tensor>;

class InitialWeightsTest : public testing::Test {
 protected:
  void make(const std::string& name, const ModelOptions& options, uint64_t seed = 1) {
    model_ = make_model(name, options, seed);
    flat_ = std::make_unique<FlatParameters>(*model_, FlatOptions{});
  }
  Tensors weights() const {
    const NamedTensors tensors = export_weights(*model_, *flat_);
    return {tensors.begin(), tensors.end()};
  }
  InitialWeights load(const Tensors& tensors,
                      const std::map<std::string, std::string>& metadata = {},
                      const std::vector<std::string>& class_names = {}) {
    write_file_durably(file(), safetensors_bytes({tensors.begin(), tensors.end()}, metadata));
    return load_initial_weights(*model_, *flat_, file(), class_names);
  }
  // Loads what must be refused; the model must not have changed.
  std::string refusal(const Tensors& tensors,
                      const std::map<std::string, std::string>& metadata = {}) {
    const Tensors before = weights();
    try {
      load(tensors, metadata);
      ADD_FAILURE() << "was accepted";
      return {};
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      for (const auto& [name, tensor] : weights())
        EXPECT_TRUE(torch::equal(tensor, before.at(name))) << name;
      return error.what();
    }
  }
  std::string file() const { return folder_ / "w.safetensors"; }

  const test::TemporaryFolder folder_;
  std::shared_ptr<ImageClassifier> model_;
  std::unique_ptr<FlatParameters> flat_;
};

// Weights of the model `name` under other options.
Tensors others(const std::string& name, const ModelOptions& options) {
  const auto model = make_model(name, options, 77);
  FlatParameters flat(*model, {});
  const NamedTensors tensors = export_weights(*model, flat);
  return {tensors.begin(), tensors.end()};
}

// A file begins with its header's length: 19280 in 8 bytes begins as a zip archive does, "PK".
TEST_F(InitialWeightsTest, TakesAFileWhoseLengthLooksLikeAnotherFormat) {
  make("resnet20", {});
  const Tensors given = others("resnet20", {});
  std::string padding;
  while (!safetensors_bytes({given.begin(), given.end()}, {{"note", padding}}).starts_with("PK")) {
    ASSERT_LT(padding.size(), 19280u);
    padding += "12345678";
  }
  load(given, {{"note", padding}});
  for (const auto& [name, tensor] : weights()) EXPECT_TRUE(torch::equal(tensor, given.at(name)));
}

TEST_F(InitialWeightsTest, CopiesEveryTensor) {
  make("resnet20", {});
  const Tensors given = others("resnet20", {});
  const InitialWeights initial = load(given);
  for (const auto& [name, tensor] : weights()) EXPECT_TRUE(torch::equal(tensor, given.at(name)));
  EXPECT_EQ(initial.sha256.size(), 64u);
  EXPECT_THAT(initial.notes, ElementsAre(HasSubstr("w.safetensors")));
}

TEST_F(InitialWeightsTest, ConvertsOtherPrecisions) {
  make("resnet20", {});
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kDouble}) {
    Tensors given = others("resnet20", {});
    for (auto& [name, tensor] : given) {
      if (tensor.is_floating_point()) tensor = tensor.to(dtype);
    }
    load(given);
    for (const auto& [name, tensor] : weights())
      EXPECT_TRUE(torch::equal(tensor, given.at(name).to(tensor.scalar_type()))) << name;
  }
}

TEST_F(InitialWeightsTest, LastLayersOfOtherClassesStayFresh) {
  make("googlenet_bn", {.num_classes = 7});
  const Tensors fresh = weights();
  const Tensors given = others("googlenet_bn", {.num_classes = 1000});
  const InitialWeights initial = load(given);
  for (const auto& [name, tensor] : weights()) {
    const bool last = name.starts_with("fc.") || name.find(".fc2.") != std::string::npos;
    EXPECT_TRUE(torch::equal(tensor, last ? fresh.at(name) : given.at(name))) << name;
  }
  EXPECT_THAT(initial.notes,
              ElementsAre(HasSubstr("starting from"),
                          HasSubstr("fc has 1000 classes in it and 7 here"),
                          HasSubstr("aux1.fc2"),
                          HasSubstr("aux2.fc2")));
}

// Equal numbers of classes say nothing of what they are: rows go by the names.
TEST_F(InitialWeightsTest, LastLayersFollowTheNamesOfTheirClasses) {
  const Tensors given = others("googlenet_bn", {.num_classes = 3});
  const std::map<std::string, std::string> metadata = {{"class_names", R"(["cat", "dog", "owl"])"}};
  const std::vector<std::string> last = {"fc", "aux1.fc2", "aux2.fc2"};

  make("googlenet_bn", {.num_classes = 3});
  EXPECT_THAT(load(given, metadata, {"owl", "cat", "dog"}).notes,
              ElementsAre(HasSubstr("starting from"),
                          HasSubstr("fc: its classes are matched by their names"),
                          HasSubstr("aux1.fc2"),
                          HasSubstr("aux2.fc2")));
  const Tensors matched = weights();
  for (const std::string& layer : last) {
    for (const std::string& name : {layer + ".weight", layer + ".bias"}) {
      EXPECT_TRUE(torch::equal(matched.at(name)[0], given.at(name)[2])) << name;
      EXPECT_TRUE(torch::equal(matched.at(name)[1], given.at(name)[0])) << name;
      EXPECT_TRUE(torch::equal(matched.at(name)[2], given.at(name)[1])) << name;
    }
  }
  EXPECT_TRUE(torch::equal(matched.at("conv1.conv.weight"), given.at("conv1.conv.weight")));
}

TEST_F(InitialWeightsTest, LastLayersOfAsManyOtherClassesStayFresh) {
  make("resnet20", {.num_classes = 3});
  const Tensors given = others("resnet20", {.num_classes = 3}), fresh = weights();
  const std::map<std::string, std::string> metadata = {{"class_names", R"(["cat", "dog", "owl"])"}};
  EXPECT_THAT(load(given, metadata, {"owl", "cat", "cow"}).notes,
              Contains(HasSubstr("fc was trained on other classes (cat, dog, owl): freshly")));
  for (const auto& [name, tensor] : weights()) {
    const bool last = name.starts_with("fc.");
    EXPECT_TRUE(torch::equal(tensor, last ? fresh.at(name) : given.at(name))) << name;
  }
}

TEST_F(InitialWeightsTest, LastLayersStayWhereTheirClassesAreTheSameOrNotKnown) {
  make("resnet20", {.num_classes = 2});
  const Tensors given = others("resnet20", {.num_classes = 2});
  for (const char* names : {R"(["cat", "dog"])", "cat, dog", R"({"cat": 0})", "[1, 2]"}) {
    EXPECT_THAT(load(given, {{"class_names", names}}, {"cat", "dog"}).notes,
                ElementsAre(HasSubstr("starting from")));
    EXPECT_TRUE(torch::equal(weights().at("fc.weight"), given.at("fc.weight"))) << names;
  }
}

TEST_F(InitialWeightsTest, MissingAuxiliaryHeadsStayFresh) {
  make("googlenet_bn", {});
  Tensors given = others("googlenet_bn", {});
  std::erase_if(given, [](const auto& item) { return item.first.starts_with("aux"); });
  EXPECT_THAT(load(given).notes,
              ElementsAre(HasSubstr("starting from"), HasSubstr("aux1"), HasSubstr("aux2")));
  given.emplace("aux1.fc1.bias", torch::zeros({1024}));  // half a head is a fault
  EXPECT_THAT(refusal(given), HasSubstr("'aux1.fc1.weight' is missing"));
}

TEST_F(InitialWeightsTest, CountsOfBatchesMayBeMissing) {
  make("resnet20", {});
  Tensors given = others("resnet20", {});
  std::erase_if(given,
                [](const auto& item) { return item.first.ends_with("num_batches_tracked"); });
  load(given);
  EXPECT_EQ(weights().at("bn1.num_batches_tracked").item<int64_t>(), 0);
}

TEST_F(InitialWeightsTest, NamesEverythingThatDoesNotFit) {
  make("resnet20", {});
  Tensors given = others("resnet20", {});
  given.erase("bn1.weight");
  given.erase("layer2.0.conv1.weight");
  given["layer1.0.conv1.weight"] = torch::zeros({16, 16, 3});
  given["fc.weight"] = torch::zeros({10, 65});
  given["bn1.bias"] = torch::zeros({16}, at::kInt);
  given["extra.one"] = given["extra.two"] = torch::zeros({});
  EXPECT_THAT(refusal(given),
              AllOf(HasSubstr("w.safetensors"),
                    HasSubstr("'bn1.weight' is missing"),
                    HasSubstr("'layer2.0.conv1.weight' is missing"),
                    HasSubstr("'layer1.0.conv1.weight' has shape [16, 16, 3]"),
                    HasSubstr("'fc.weight' has shape [10, 65], the model wants [10, 64]"),
                    HasSubstr("'bn1.bias' holds whole numbers"),
                    HasSubstr("'extra.one' is not part"),
                    HasSubstr("'extra.two' is not part")));
}

TEST_F(InitialWeightsTest, OfManyThatDoNotFitAFewAreNamedAndTheRestCounted) {
  make("resnet20", {});
  Tensors given = others("resnet20", {});
  std::erase_if(given, [](const auto& item) { return item.first.starts_with("layer"); });
  for (int i = 0; i < 40; ++i) given.emplace("extra." + std::to_string(i), torch::zeros({}));
  const std::string text = refusal(given);
  EXPECT_LT(std::ranges::count(text, '\n'), 15) << text;
  // Three layers of three blocks, each of two convolutions and two norms of four tensors: 90.
  EXPECT_THAT(text, HasSubstr("and 85 more are missing"));
  EXPECT_THAT(text, HasSubstr("and 35 more are not part of the model"));
}

TEST_F(InitialWeightsTest, WrappersPrefixesAreLeftOut) {
  for (const std::string prefix : {"module.", "_orig_mod.", "model.", "module._orig_mod."}) {
    make("resnet20", {});
    const Tensors given = others("resnet20", {});
    Tensors wrapped;
    for (const auto& [name, tensor] : given) wrapped.emplace(prefix + name, tensor);
    const InitialWeights initial = load(wrapped);
    for (const auto& [name, tensor] : weights()) EXPECT_TRUE(torch::equal(tensor, given.at(name)));
    EXPECT_THAT(initial.notes,
                ElementsAre(HasSubstr("starting from"), HasSubstr("'" + prefix + "'")));
  }
}

TEST_F(InitialWeightsTest, APrefixOfSomeNamesIsToldWithWhatMendsIt) {
  make("resnet20", {});
  Tensors wrapped = {{"criterion.weight", torch::ones({10})}};
  for (const auto& [name, tensor] : others("resnet20", {}))
    wrapped.emplace("model." + name, tensor);
  EXPECT_THAT(refusal(wrapped),
              AllOf(HasSubstr("of its " + std::to_string(wrapped.size()) + " names begin with"),
                    HasSubstr("'model.'"),
                    HasSubstr("python3 -c 'import sys, safetensors.torch"),
                    HasSubstr("k.startswith(p)}, sys.argv[3])' model. ")));
}

TEST_F(InitialWeightsTest, APrefixFromAFileCannotBecomeACommand) {
  make("resnet20", {});
  Tensors wrapped = {{"criterion.weight", torch::ones({10})}};
  for (const auto& [name, tensor] : others("resnet20", {}))
    wrapped.emplace("$(touch x);'`." + name, tensor);
  EXPECT_THAT(refusal(wrapped), HasSubstr("'$(touch x);'\\''`.'"));
}

TEST_F(InitialWeightsTest, AFileWithoutTheLastLayerGivesAFreshHead) {
  make("googlenet_bn", {.num_classes = 7});
  const Tensors fresh = weights();
  Tensors given = others("googlenet_bn", {.num_classes = 7});
  given.erase("fc.weight");
  given.erase("fc.bias");
  const InitialWeights initial = load(given);
  for (const auto& [name, tensor] : weights())
    EXPECT_TRUE(torch::equal(tensor, name.starts_with("fc.") ? fresh.at(name) : given.at(name)))
        << name;
  EXPECT_THAT(initial.notes,
              ElementsAre(HasSubstr("starting from"),
                          HasSubstr("last layer fc is not in it: freshly initialised")));
  given.emplace("fc.bias", torch::zeros({7}));  // half a layer is a fault
  EXPECT_THAT(refusal(given), HasSubstr("'fc.weight' is missing"));
}

TEST_F(InitialWeightsTest, AFreshLayerThatIsFrozenIsToldOf) {
  make("resnet20", {});
  for (const auto& item : model_->named_parameters())
    item.value().set_requires_grad(!item.key().starts_with("fc."));
  flat_ = std::make_unique<FlatParameters>(*model_, FlatOptions{});
  Tensors given = others("resnet20", {});
  std::erase_if(given, [](const auto& item) { return item.first.starts_with("fc."); });
  EXPECT_THAT(load(given).notes, testing::Contains(HasSubstr("model.freeze")));
}

TEST_F(InitialWeightsTest, FeaturesAloneFitTheCompactHead) {
  make("vgg11", {.head = ModelHead::kCompact});
  Tensors given = others("vgg11", {.head = ModelHead::kCompact});
  std::erase_if(given, [](const auto& item) { return item.first.starts_with("classifier"); });
  EXPECT_THAT(load(given).notes,
              testing::Contains(HasSubstr("last layer classifier is not in it")));
}

TEST_F(InitialWeightsTest, AdvisesOnTheKeyThatWouldMakeItFit) {
  make("resnet18", {.image_size = 32});
  EXPECT_THAT(refusal(others("resnet18", {.image_size = 224})), HasSubstr("model.stem=imagenet"));
  make("googlenet_bn", {.image_size = 64});
  EXPECT_THAT(refusal(others("googlenet_bn", {.image_size = 32})), HasSubstr("model.stem=cifar"));
  make("resnet20", {});
  EXPECT_THAT(refusal(others("resnet18", {}), {{"model", "resnet18"}}),
              AllOf(HasSubstr("model.name='resnet18'"), Not(HasSubstr("model.stem"))));
}

TEST_F(InitialWeightsTest, RefusesNumbersThatAreNotFinite) {
  make("resnet20", {});
  Tensors given = others("resnet20", {});
  given["fc.bias"][3] = std::numeric_limits<float>::quiet_NaN();
  given["bn1.running_var"][0] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(refusal(given), AllOf(HasSubstr("'fc.bias'"), HasSubstr("'bn1.running_var'")));
}

TEST_F(InitialWeightsTest, RefusesFoldersPicklesAndNothing) {
  make("resnet20", {});
  const auto code = [&](const std::string& name) {
    try {
      load_initial_weights(*model_, *flat_, name);
      return ExitCode::kOk;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
      return error.code();
    }
  };
  EXPECT_EQ(code(folder_.path()), ExitCode::kUsage);
  write_file_durably(folder_ / "w.pth", std::string("PK\x03\x04 and so on"));
  EXPECT_EQ(code(folder_ / "w.pth"), ExitCode::kUsage);
  EXPECT_EQ(code(folder_ / "nothing"), ExitCode::kInputOutput);
}

}  // namespace
}  // namespace lockstep
