// How often pganalytics.explain may be called.
#pragma once

#include <cstdint>

namespace pga::collector {

struct ExplainLimits {
  // Of one server in a minute; no more than this at once. 0 = none are made.
  int statements = 20;
  int64_t time_us = 500'000;
  // A plan is made again after this.
  int64_t again_ns = int64_t{3600} * 1'000'000'000;
};

}  // namespace pga::collector
