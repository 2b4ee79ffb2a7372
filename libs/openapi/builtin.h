// The OpenAPI document of the API as it was when the program was built.
#pragma once

#include <string_view>

namespace pga::openapi {

// JSON, UTF-8; lives as long as the program. Thread-safe.
std::string_view BuiltinDocument();

}  // namespace pga::openapi
