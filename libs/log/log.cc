#include "libs/log/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/text/utf8.h"

namespace pga::log {
namespace {

constexpr size_t kMaxValueBytes = 4096;
constexpr std::string_view kOwnKeys[] = {"time", "level", "service", "message", "request_id"};

struct State {
  std::mutex mutex;
  LogOptions options;
  std::shared_ptr<spdlog::logger> logger;
};

State& GetState() {
  // Never destroyed: threads may log while static objects go away.
  static State* state = [] {
    auto* fresh = new State;
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    fresh->logger = std::make_shared<spdlog::logger>("pga", std::move(sink));
    fresh->logger->set_pattern("%v");
    fresh->logger->set_level(spdlog::level::trace);
    fresh->logger->flush_on(spdlog::level::trace);
    return fresh;
  }();
  return *state;
}

std::atomic<int> g_level{static_cast<int>(Level::info)};

std::string& ThreadRequestId() {
  thread_local std::string request_id;
  return request_id;
}

std::string_view LevelName(Level level) {
  switch (level) {
    case Level::debug:
      return "debug";
    case Level::info:
      return "info";
    case Level::warn:
      return "warn";
    case Level::error:
      return "error";
    case Level::off:
      break;
  }
  return "off";
}

void AppendCut(std::string_view text, std::string* out) {
  if (text.size() <= kMaxValueBytes) {
    AppendJsonString(text, out);
  } else {
    AppendJsonString(absl::StrCat(std::string(text.substr(0, kMaxValueBytes)), "..."), out);
  }
}

void AppendValue(const Field& field, std::string* out) {
  std::visit(
      [out](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          AppendCut(value, out);
        } else if constexpr (std::is_same_v<T, bool>) {
          out->append(value ? "true" : "false");
        } else if constexpr (std::is_same_v<T, double>) {
          if (std::isfinite(value)) {
            absl::StrAppend(out, value);
          } else {
            absl::StrAppend(out, "\"", value, "\"");
          }
        } else {
          absl::StrAppend(out, value);
        }
      },
      field.value());
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    switch (c) {
      case '"':
        out->append("\\\"");
        ++i;
        continue;
      case '\\':
        out->append("\\\\");
        ++i;
        continue;
      case '\n':
        out->append("\\n");
        ++i;
        continue;
      case '\r':
        out->append("\\r");
        ++i;
        continue;
      case '\t':
        out->append("\\t");
        ++i;
        continue;
      default:
        break;
    }
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7F) {
      out->append("\\u00");
      out->push_back(kHex[u >> 4U]);
      out->push_back(kHex[u & 0xFU]);
      ++i;
      continue;
    }
    const size_t length = text::CharacterLength(text.substr(i));
    if (length == 0) {
      out->append("\xEF\xBF\xBD");
      ++i;
    } else {
      out->append(text.substr(i, length));
      i += length;
    }
  }
  out->push_back('"');
}

absl::StatusOr<Level> ParseLevel(std::string_view text) {
  const std::string lower = absl::AsciiStrToLower(std::string(text));
  if (lower == "debug" || lower == "trace") return Level::debug;
  if (lower == "info") return Level::info;
  if (lower == "warn" || lower == "warning") return Level::warn;
  if (lower == "error") return Level::error;
  if (lower == "off") return Level::off;
  return absl::InvalidArgumentError(
      absl::StrCat("LOG_LEVEL: \"", lower, "\" is no log level; use debug, info, warn or error"));
}

void Init(LogOptions options) {
  State& state = GetState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  g_level.store(static_cast<int>(options.level), std::memory_order_relaxed);
  state.options = std::move(options);
}

bool Enabled(Level level) {
  return level != Level::off && static_cast<int>(level) >= g_level.load(std::memory_order_relaxed);
}

void Write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!Enabled(level)) return;
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", clock::WallNow(), absl::UTCTimeZone());
  State& state = GetState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  std::string line;
  line.reserve(256);
  if (state.options.json) {
    absl::StrAppend(&line, "{\"time\":\"", time, "\",\"level\":\"", std::string(LevelName(level)), "\"");
    if (!state.options.service.empty()) {
      line.append(",\"service\":");
      AppendJsonString(state.options.service, &line);
    }
    line.append(",\"message\":");
    AppendCut(message, &line);
    if (!ThreadRequestId().empty()) {
      line.append(",\"request_id\":");
      AppendJsonString(ThreadRequestId(), &line);
    }
    for (const Field& field : fields) {
      line.push_back(',');
      // Where no request's scope gives it, a request id is a field like others.
      const bool free = field.key() == "request_id" && ThreadRequestId().empty();
      // A key that the line has already would make two of them.
      const bool taken =
          !free && std::find(std::begin(kOwnKeys), std::end(kOwnKeys), field.key()) != std::end(kOwnKeys);
      AppendJsonString(taken ? absl::StrCat(std::string(field.key()), "_") : std::string(field.key()), &line);
      line.push_back(':');
      AppendValue(field, &line);
    }
    line.push_back('}');
  } else {
    absl::StrAppend(&line, time, " ", absl::AsciiStrToUpper(std::string(LevelName(level))), " ", state.options.service,
                    state.options.service.empty() ? "" : " ", std::string(message));
    if (!ThreadRequestId().empty()) absl::StrAppend(&line, " request_id=", ThreadRequestId());
    for (const Field& field : fields) {
      absl::StrAppend(&line, " ", std::string(field.key()), "=");
      AppendValue(field, &line);
    }
  }
  if (state.options.sink) {
    state.options.sink(line);
  } else {
    state.logger->log(spdlog::level::info, line);
  }
}

RequestScope::RequestScope(std::string request_id) : previous_(std::move(ThreadRequestId())) {
  ThreadRequestId() = std::move(request_id);
}

RequestScope::~RequestScope() {
  ThreadRequestId() = std::move(previous_);
}

}  // namespace pga::log
