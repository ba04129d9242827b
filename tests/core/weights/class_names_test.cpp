#include "lockstep/core/weights/class_names.h"

#include <gmock/gmock.h>

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Optional;

using Names = std::vector<std::string>;

TEST(ClassNames, AreMatchedByNameWhateverTheirOrder) {
  EXPECT_THAT(places_in(Names{"cat", "dog", "owl"}, Names{"owl", "cat", "dog"}),
              Optional(ElementsAre(2, 0, 1)));
  EXPECT_THAT(places_in(Names{"cat", "dog"}, Names{"cat", "dog"}), Optional(ElementsAre(0, 1)));
}

TEST(ClassNames, OfOtherClassesAreNotMatched) {
  EXPECT_FALSE(places_in(Names{"cat", "dog"}, Names{"cat", "owl"}));
  EXPECT_FALSE(places_in(Names{"cat", "dog"}, Names{"cat"}));
  EXPECT_FALSE(places_in(Names{"cat", "dog"}, Names{"cat", "cat"}));
}

// Which of two equal names is which cannot be known, unless nothing has moved.
TEST(ClassNames, ThatStandTwiceAreMatchedByTheirPlaceAlone) {
  const Names twice{"cat", "dog", "cat"};
  EXPECT_THAT(places_in(twice, twice), Optional(ElementsAre(0, 1, 2)));
  EXPECT_FALSE(places_in(twice, Names{"cat", "cat", "dog"}));
}

TEST(ClassNames, OfManyClassesAreShownWhereTheyDiffer) {
  Names many;
  for (int i = 0; i < 1000; ++i) many.push_back("class " + std::to_string(i));
  Names other = many;
  other[700] = "a newt";
  const std::string lists = class_lists("trained on", many, "the set", other);
  EXPECT_THAT(lists, HasSubstr("trained on: 1000 classes, of which only here: class 700\n"));
  EXPECT_THAT(lists, HasSubstr("the set: 1000 classes, of which only here: a newt"));
  EXPECT_THAT(lists, Not(HasSubstr("class 1,")));
}

}  // namespace
}  // namespace lockstep
