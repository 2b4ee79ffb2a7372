#include "libs/pg/errors.h"

#include <libpq-fe.h>

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/status/payloads.h"

namespace pga::pg {
namespace {

absl::StatusCode CodeOf(std::string_view state) {
  const std::string_view group = state.substr(0, 2);
  if (state == "57014") return absl::StatusCode::kDeadlineExceeded;
  if (state == "53300") return absl::StatusCode::kResourceExhausted;
  if (state == "40001" || state == "40P01" || state == "55P03") return absl::StatusCode::kAborted;
  if (state == "40003" || state == "08007") return absl::StatusCode::kUnknown;
  if (state == "23505") return absl::StatusCode::kAlreadyExists;
  if (state == "42501" || group == "28") return absl::StatusCode::kPermissionDenied;
  if (state == "25006" || state == "55000" || state == "55006") return absl::StatusCode::kFailedPrecondition;
  if (state == "3D000" || state == "3F000" || state == "42P01" || state == "42703" || state == "42883" ||
      state == "42704") {
    return absl::StatusCode::kNotFound;
  }
  if (group == "53") return absl::StatusCode::kResourceExhausted;
  if (group == "08" || group == "57") return absl::StatusCode::kUnavailable;
  if (group == "40") return absl::StatusCode::kAborted;
  if (group == "23") return absl::StatusCode::kFailedPrecondition;
  if (group == "22") return absl::StatusCode::kInvalidArgument;
  if (group == "58") return absl::StatusCode::kUnavailable;
  return absl::StatusCode::kInternal;
}

bool IsSqlState(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); });
}

// What to do where the way to the server fails for reasons of TLS. Text for people, nothing is decided by it: a server
// may write its words in another language, and then they stand alone.
std::string AdviceOn(std::string_view message) {
  struct Advice {
    std::string_view words, advice;
  };
  static constexpr Advice kAdvice[] = {
      {"certificate verify failed",
       "the server's certificate has expired, is not valid yet, or was signed by a CA that the file of trusted "
       "certificates does not have: renew it at the server, or add that CA's certificate to the file"},
      {"does not match host name",
       "connect by a name that the certificate has, or choose sslmode verify-ca, which compares no names"},
      {"server does not support SSL", "turn ssl on at the server, or choose an sslmode that goes without: prefer"},
      {", no encryption",
       "the server lets this login in only over TLS, as with rds.force_ssl: choose sslmode require or stronger"},
      {", SSL encryption",
       "pg_hba.conf, or the firewall of a managed server, must let this user in from here to this database"},
  };
  for (const Advice& each : kAdvice) {
    if (message.find(each.words) != std::string_view::npos) return absl::StrCat("; ", std::string(each.advice));
  }
  return "";
}

}  // namespace

absl::Status MakeError(std::string_view sqlstate, std::string_view message) {
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.remove_suffix(1);
  absl::Status error(CodeOf(sqlstate), absl::string_view(message.data(), message.size()));
  if (!sqlstate.empty())
    error.SetPayload(status::kSqlStateUrl, absl::Cord(absl::string_view(sqlstate.data(), sqlstate.size())));
  return error;
}

// libpq has no field for the SQLSTATE of a refused connection, but a form of message that names it, which is not
// translated: "<where>: <severity>:  28P01: <text>\nLOCATION: ...". Of several addresses the last one's counts.
absl::Status ConnectFailure(const pg_conn* connection) {
  const std::string message = PQerrorMessage(connection);
  constexpr std::string_view kBefore = ":  ", kAfter = ": ";
  constexpr size_t kStateSize = 5;
  for (size_t at = message.rfind(kBefore); at != std::string::npos && at > 0; at = message.rfind(kBefore, at - 1)) {
    const size_t state_at = at + kBefore.size();
    if (state_at + kStateSize + kAfter.size() > message.size()) continue;
    const std::string_view state = std::string_view(message).substr(state_at, kStateSize);
    if (!IsSqlState(state) || message.compare(state_at + kStateSize, kAfter.size(), kAfter) != 0) continue;
    const size_t text_at = state_at + kStateSize + kAfter.size();
    const std::string text = message.substr(text_at, message.find('\n', text_at) - text_at);
    return MakeError(state, absl::StrCat(message.substr(0, state_at), text, AdviceOn(text)));
  }
  const absl::string_view text = absl::StripTrailingAsciiWhitespace(message);
  return MakeError(PQconnectionNeedsPassword(connection) ? "28P01" : "08001", absl::StrCat(text, AdviceOn(message)));
}

}  // namespace pga::pg
