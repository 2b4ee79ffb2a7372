// The script explain_setup.sql, as it is compiled in.
#pragma once

#include <string_view>

namespace pga::collector {

std::string_view ExplainSetupSql();

}  // namespace pga::collector
