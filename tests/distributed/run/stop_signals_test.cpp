#include "lockstep/distributed/run/stop_signals.h"

#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <type_traits>

#include "lockstep/distributed/comm/communicator.h"

namespace lockstep {
namespace {

// Their destructors give back what there is one of.
template <typename Owner>
constexpr bool kOneOwner =
    !std::is_copy_constructible_v<Owner> && !std::is_copy_assignable_v<Owner>;
static_assert(kOneOwner<StopSignals> && kOneOwner<Communicator> && kOneOwner<PendingWork>);

int g_outer = 0;

TEST(StopSignals, HoldTheSignalsForTheirLifetimeAlone) {
  const auto before = std::signal(SIGUSR2, [](int) { ++g_outer; });
  {
    const StopSignals signals;
    EXPECT_EQ(StopSignals::received(), 0);
    std::raise(SIGUSR2);
    EXPECT_EQ(StopSignals::received(), SIGUSR2);
    EXPECT_EQ(g_outer, 0);
  }
  std::raise(SIGUSR2);
  EXPECT_EQ(g_outer, 1);
  std::signal(SIGUSR2, before);
}

TEST(StopSignals, WhatCameBeforeThemIsHeldAndThenReceived) {
  for (const int number : kStopSignals) {
    hold_stop_signals();
    std::raise(number);
    const StopSignals signals;
    EXPECT_EQ(StopSignals::received(), 0);
    release_stop_signals();
    EXPECT_EQ(StopSignals::received(), number);
  }
}

}  // namespace
}  // namespace lockstep
