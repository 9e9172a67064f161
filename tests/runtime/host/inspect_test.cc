#include <rondo/host/inspect.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace rondo::host {
namespace {

TEST(InspectTest, AListingIsOneArrayOfObjectsWithItsKeysInOrder) {
  core::Listing listing;
  listing.rows.push_back({{"id", std::string("a")}, {"pid", std::int64_t{7}}});
  EXPECT_EQ(to_json(listing), R"([{"id":"a","pid":7}])");
  EXPECT_EQ(to_json({}), "[]");
}

TEST(InspectTest, BytesThatAreNoTextDoNotBreakTheArray) {
  core::Listing listing;
  listing.rows.push_back({{"cause", std::string("log said \xff\n\"x\"")}});
  EXPECT_TRUE(nlohmann::json::parse(to_json(listing), nullptr, false).is_array());
}

}  // namespace
}  // namespace rondo::host
