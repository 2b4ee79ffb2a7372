// PostgreSQL array literals, one element at a time: how a statement takes many keys or values as one text parameter.
// Pure; one object makes one literal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/frame/uuid.h"

namespace pga::storage {

class ArrayText {
 public:
  ArrayText() : text_("{") {}
  void AddInt(int64_t value) {
    Separate();
    absl::StrAppend(&text_, value);
  }
  // 16 bytes.
  void AddUuid(std::string_view bytes) {
    Separate();
    text_ += frame::FormatUuid(bytes);
  }
  // Any bytes, as a bytea.
  void AddBytea(std::string_view bytes) {
    Separate();
    absl::StrAppend(&text_, "\"\\\\x", absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size())), "\"");
  }
  // Any text without NUL.
  void AddQuoted(std::string_view value) {
    Separate();
    text_.push_back('"');
    for (const char c : value) {
      if (c == '"' || c == '\\') text_.push_back('\\');
      text_.push_back(c);
    }
    text_.push_back('"');
  }
  // The literal; the object is used up.
  std::string Take() {
    text_.push_back('}');
    return std::move(text_);
  }

 private:
  void Separate() {
    if (text_.size() > 1) text_.push_back(',');
  }
  std::string text_;
};

}  // namespace pga::storage
