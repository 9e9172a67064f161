#include <gtest/gtest.h>

#include "sweep.h"

// The other half of the seeds, so that two processors share them.

namespace rondo::sim {
namespace {

TEST(Simulation, NoCheckerObjectsToAnOddSeed) { sweep_every_second_seed(1); }

}  // namespace
}  // namespace rondo::sim
