#pragma once

// Structured log lines, one JSON object per line on standard error. Rules: the message is a constant sentence, what
// varies goes into fields; secrets are carried as log::Secret, which prints as "***". All functions are thread-safe;
// a line is written with one write under a lock, and may block on a full pipe.
//
//   PGA_LOG(info, "collector registered", {{"collector_id", id}, {"metrics", 17}});

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/status/status.h"

namespace pga::log {

enum class Level { debug, info, warn, error, off };

// "debug", "info", "warn" or "warning", "error", "off"; anything else is INVALID_ARGUMENT.
absl::StatusOr<Level> ParseLevel(std::string_view text);

// A value that must not reach logs, errors or answers by accident: reading it takes a call that can be searched for.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  const std::string& Reveal() const { return value_; }
  bool empty() const { return value_.empty(); }

 private:
  std::string value_;
};

// One key with a typed value. Strings are escaped; invalid UTF-8 is replaced; values are cut after 4 KiB.
class Field {
 public:
  Field(std::string_view key, bool value) : key_(key), value_(value) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) Field(std::string_view key, T value) : key_(key), value_(Widen(value)) {}
  Field(std::string_view key, double value) : key_(key), value_(value) {}
  Field(std::string_view key, const char* value) : key_(key), value_(std::string(value)) {}
  Field(std::string_view key, std::string value) : key_(key), value_(std::move(value)) {}
  Field(std::string_view key, std::string_view value) : key_(key), value_(std::string(value)) {}
  template <std::same_as<absl::string_view> T>
  requires(!std::same_as<absl::string_view, std::string_view>) Field(std::string_view key, T value)
      : key_(key), value_(std::string(value)) {}
  // Seconds as a number with fraction.
  Field(std::string_view key, absl::Duration value) : key_(key), value_(absl::ToDoubleSeconds(value)) {}
  // RFC 3339, UTC.
  Field(std::string_view key, absl::Time value)
      : key_(key), value_(absl::FormatTime(absl::RFC3339_full, value, absl::UTCTimeZone())) {}
  // "CODE: message"; "OK" for success.
  Field(std::string_view key, const absl::Status& value) : key_(key), value_(value.ToString()) {}
  Field(std::string_view key, const Secret&) : key_(key), value_(std::string("***")) {}

  std::string_view key() const { return key_; }
  const std::variant<bool, int64_t, uint64_t, double, std::string>& value() const { return value_; }

 private:
  template <typename T>
  static std::variant<bool, int64_t, uint64_t, double, std::string> Widen(T value) {
    if constexpr (std::is_signed_v<T>) {
      return static_cast<int64_t>(value);
    } else {
      return static_cast<uint64_t>(value);
    }
  }

  std::string_view key_;
  std::variant<bool, int64_t, uint64_t, double, std::string> value_;
};

struct LogOptions {
  Level level = Level::info;
  bool json = true;     // false: "time LEVEL service message key=value" for people at a terminal
  std::string service;  // field "service" of every line
  // Where lines go (without line end); standard error when empty. Called under a lock.
  std::function<void(const std::string&)> sink;
};

// Sets level, form and service name for the process. May be called again; until the first call lines are JSON at level
// info.
void Init(LogOptions options);

// Whether lines of this level are written now. Cheap.
bool Enabled(Level level);

// Use PGA_LOG, which skips building the fields when the level is off.
void Write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

// While it lives, lines of this thread carry the request id. Nests; not to be moved between threads.
class RequestScope {
 public:
  explicit RequestScope(std::string request_id);
  ~RequestScope();
  RequestScope(const RequestScope&) = delete;
  RequestScope& operator=(const RequestScope&) = delete;

 private:
  std::string previous_;
};

// Appends `text` to `out` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);

}  // namespace pga::log

// PGA_LOG(info|warn|error|debug, "message" [, {{"key", value}, ...}])
#define PGA_LOG(level, message, ...)                                                    \
  do {                                                                                  \
    if (::pga::log::Enabled(::pga::log::Level::level)) {                                \
      ::pga::log::Write(::pga::log::Level::level, (message)__VA_OPT__(, ) __VA_ARGS__); \
    }                                                                                   \
  } while (false)
