#pragma once

// The files of tools/deploy/envoy, built in.

#include <string>
#include <string_view>
#include <vector>

namespace pga::gateway {

struct EnvoySource {
  std::string name;
  std::string_view text;
};

std::vector<EnvoySource> EnvoySources();

}  // namespace pga::gateway
