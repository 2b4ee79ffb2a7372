// What somebody may have meant who wrote a name that is not known. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pga::config {

// At most three candidates that resemble `name`, best first.
std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace pga::config
