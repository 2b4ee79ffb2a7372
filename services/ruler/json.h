// The little JSON that the service keeps and sends. Pure, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/ruler/rule.h"
#include "services/ruler/silences.h"

namespace pga::ruler {

std::string Rfc3339(absl::Time time);
// `text` as a JSON string with its quotes.
std::string Quoted(std::string_view text);
// {"name":"value", ...}
std::string ToJson(const Labels& labels);
absl::StatusOr<Labels> LabelsFromJson(std::string_view json);

// ["text", ...]
std::string ToJson(const std::vector<std::string>& texts);
absl::StatusOr<std::vector<std::string>> TextsFromJson(std::string_view json);

// [{"name", "value", "is_regex", "is_negative"}, ...]
std::string ToJson(const std::vector<Matcher>& matchers);
absl::StatusOr<std::vector<Matcher>> MatchersFromJson(std::string_view json);

// Alertmanager's: the body of POST /api/v2/silences, its answer, and that of GET /api/v2/silences. Only silences that
// have not ended are returned.
std::string AlertmanagerSilence(const Silence& silence);
absl::StatusOr<std::string> SilenceIdFromAlertmanager(const std::string& json);
absl::StatusOr<std::vector<Silence>> SilencesFromAlertmanager(const std::string& json);

}  // namespace pga::ruler
