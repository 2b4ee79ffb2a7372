#include "libs/pg/conninfo.h"

#include <libpq-fe.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace pga::pg {
namespace {

struct OptionsDeleter {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, OptionsDeleter>;

absl::StatusOr<Options> Parse(std::string_view url) {
  if (url.empty()) return absl::InvalidArgumentError("the connection string is empty");
  char* message = nullptr;
  Options options(PQconninfoParse(std::string(url).c_str(), &message));
  if (message != nullptr) PQfreemem(message);  // libpq's message repeats parts of the string: it is not passed on
  if (options == nullptr) {
    return absl::InvalidArgumentError(
        "the connection string cannot be parsed; expected postgresql://user:password@host:port/database?option=value "
        "with special characters percent-encoded");
  }
  return options;
}

void Append(std::string* out, std::string_view keyword, std::string_view value) {
  if (!out->empty()) *out += ' ';
  out->append(keyword);
  *out += "='";
  for (const char c : value) {
    if (c == '\\' || c == '\'') *out += '\\';
    *out += c;
  }
  *out += '\'';
}

}  // namespace

absl::StatusOr<std::string> MergeConninfo(std::string_view url, const std::vector<ConninfoSetting>& settings) {
  auto options = Parse(url);
  if (!options.ok()) return options.status();
  for (const ConninfoSetting& setting : settings) {
    bool known = false;
    for (PQconninfoOption* option = options->get(); option->keyword != nullptr; ++option) {
      if (setting.keyword != option->keyword) continue;
      known = true;
      if (option->val != nullptr && !setting.override) break;
      std::free(option->val);  // libpq allocates with malloc and frees it in PQconninfoFree
      option->val = ::strdup(setting.value.c_str());
    }
    if (!known) return absl::InvalidArgumentError(absl::StrCat("unknown connection setting ", setting.keyword));
  }
  std::string merged;
  for (const PQconninfoOption* option = options->get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr) Append(&merged, option->keyword, option->val);
  }
  return merged;
}

absl::StatusOr<std::string> WithDatabase(std::string_view url, std::string_view database) {
  return MergeConninfo(url, {{"dbname", std::string(database), true}});
}

absl::StatusOr<std::string> ConninfoValue(std::string_view url, std::string_view keyword) {
  auto options = Parse(url);
  if (!options.ok()) return options.status();
  for (const PQconninfoOption* option = options->get(); option->keyword != nullptr; ++option) {
    if (keyword == option->keyword && option->val != nullptr) return std::string(option->val);
  }
  return std::string();
}

absl::StatusOr<std::string> WithoutKeyword(std::string_view url, std::string_view keyword) {
  auto options = Parse(url);
  if (!options.ok()) return options.status();
  std::string left;
  for (const PQconninfoOption* option = options->get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr && keyword != option->keyword) Append(&left, option->keyword, option->val);
  }
  return left;
}

absl::StatusOr<std::string> WritableConninfo(std::string_view url) {
  return MergeConninfo(url, {{"target_session_attrs", "read-write", false}});
}

absl::StatusOr<std::string> CompleteConninfo(std::string_view url, std::string_view application_name,
                                             absl::Duration connect_timeout) {
  const int64_t seconds = std::max<int64_t>(2, absl::ToInt64Seconds(absl::Ceil(connect_timeout, absl::Seconds(1))));
  return MergeConninfo(url, {
                                {"application_name", std::string(application_name), true},
                                {"connect_timeout", std::to_string(seconds), false},
                                {"keepalives_idle", "5", false},
                                {"keepalives_interval", "3", false},
                                {"keepalives_count", "3", false},
                                {"tcp_user_timeout", "15000", false},
                                {"client_encoding", "UTF8", true},
                            });
}

}  // namespace pga::pg
