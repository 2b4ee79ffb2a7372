// A value of a JSON text by its pointer (RFC 6901), as "/api_token/id". Whoever uses it links simdjson. Tests only.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace pga::testing {

// Empty where there is none or no text.
inline std::string JsonText(const std::string& json, std::string_view pointer) {
  simdjson::dom::parser parser;
  std::string_view text;
  const bool found = parser.parse(json).at_pointer(pointer).get_string().get(text) == simdjson::SUCCESS;
  return found ? std::string(text) : "";
}

// -1 where there is none or no whole number.
inline int64_t JsonNumber(const std::string& json, std::string_view pointer) {
  simdjson::dom::parser parser;
  int64_t number = 0;
  return parser.parse(json).at_pointer(pointer).get_int64().get(number) == simdjson::SUCCESS ? number : -1;
}

}  // namespace pga::testing
