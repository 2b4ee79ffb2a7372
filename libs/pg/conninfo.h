// Connection strings: takes what the user wrote (a postgresql:// URI or key=value words) and completes or changes
// single settings. Never repeats the string in an error, because it may hold a password.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::pg {

struct ConninfoSetting {
  std::string keyword;  // libpq's name, for example "connect_timeout"
  std::string value;
  // False: only if the user did not say anything.
  bool override = false;
};

// key=value words with `settings` merged in. InvalidArgument when libpq cannot parse `url` or does not know a keyword.
absl::StatusOr<std::string> MergeConninfo(std::string_view url, const std::vector<ConninfoSetting>& settings);

// `url` with the database changed.
absl::StatusOr<std::string> WithDatabase(std::string_view url, std::string_view database);

// The value of one keyword, empty if absent.
absl::StatusOr<std::string> ConninfoValue(std::string_view url, std::string_view keyword);

// key=value words of `url` without `keyword`, for example "password".
absl::StatusOr<std::string> WithoutKeyword(std::string_view url, std::string_view keyword);

// What every connection of the product gets unless the user's string says otherwise: application_name (always set),
// connect_timeout (at least 2 s, libpq's least), keepalives and tcp_user_timeout so that a dead peer is noticed within
// 15 s, client_encoding UTF8. Nothing that a connection pooler in between would refuse.
absl::StatusOr<std::string> CompleteConninfo(std::string_view url, std::string_view application_name,
                                             absl::Duration connect_timeout);

// `url` for those who write: of several hosts the one that takes writes is chosen, and a lone standby is refused when
// connecting, unless the user's string says otherwise (target_session_attrs).
absl::StatusOr<std::string> WritableConninfo(std::string_view url);

}  // namespace pga::pg
