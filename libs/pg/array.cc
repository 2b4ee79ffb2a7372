#include "libs/pg/value.h"

namespace pga::pg {

std::string ArrayOf(const std::vector<std::string>& values) {
  std::string array = "{";
  for (const std::string& value : values) {
    array += array.size() > 1 ? ",\"" : "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') array.push_back('\\');
      array.push_back(c);
    }
    array.push_back('"');
  }
  return array + "}";
}

}  // namespace pga::pg
