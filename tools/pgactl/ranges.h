// Times and ranges as commands take and show them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"
#include "libs/status/status.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {

absl::Time FromProto(const google::protobuf::Timestamp& time);
google::protobuf::Timestamp ToProto(absl::Time time);

// "10:03", "2026-01-01 10:03", RFC 3339, or "2h" before now; a usage error for anything else.
absl::StatusOr<absl::Time> ParseInstant(const std::string& text, absl::Time now);

// "2026-01-01 10:00:00 to 2026-01-01 11:00:00 CET"
std::string RangeText(absl::Time start, absl::Time end, absl::TimeZone zone = absl::LocalTimeZone());

// --hours, --from, --to and --source.
const std::vector<OptionSpec>& RangeOptions();
std::vector<OptionSpec> With(std::vector<OptionSpec> options, const std::vector<OptionSpec>& more);

// --text-length, of commands whose answers hold many texts.
template <typename Request>
absl::Status SetTextLength(const Context& context, Request* request) {
  PGA_ASSIGN_OR_RETURN(const int length, context.arguments->Int("text-length", 0, 1, 65'536));
  request->set_text_length(length);
  return absl::OkStatus();
}

// Fills hours, start, end and source of a request from these options.
template <typename Request>
absl::Status FillRange(const Context& context, Request* request) {
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("hours", 0, 1, 720));
  request->set_hours(hours);
  if (hours != 0 && (context.arguments->Has("from") || context.arguments->Has("to"))) {
    return UsageError("use either --hours, or --from and --to");
  }
  if (context.arguments->Has("from")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time start, ParseInstant(context.arguments->Get("from"), context.now));
    *request->mutable_start() = ToProto(start);
  }
  if (context.arguments->Has("to")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time end, ParseInstant(context.arguments->Get("to"), context.now));
    *request->mutable_end() = ToProto(end);
  }
  for (const std::string& source : context.arguments->All("source")) request->add_source(source);
  return absl::OkStatus();
}

}  // namespace pga::pgactl
