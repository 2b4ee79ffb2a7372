#pragma once

// Texts with places to fill in: ${NAME} is a value, and lines that hold nothing but a directive choose or repeat what
// lies between them and their `#end`: `#if NAME`, `#if !NAME`, `#for NAME`. Pure.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::gateway {

struct TemplateValues {
  // A value that is empty counts as false for `#if`.
  std::map<std::string, std::string, std::less<>> texts;
  // What `#for` repeats; inside, its own texts come before those outside. An empty list is false for `#if`.
  std::map<std::string, std::vector<TemplateValues>, std::less<>> lists;
};

// INVALID_ARGUMENT with the line for a directive without its end, and for a name that has no value.
absl::StatusOr<std::string> FillTemplate(std::string_view text, const TemplateValues& values);

}  // namespace pga::gateway
