#include "services/collector/text_redactor.h"

#include <utility>

#include "services/collector/query_text.h"

namespace pga::collector {
namespace {

metrics::Counter& Texts(metrics::Registry* registry, const std::string& source, const char* way) {
  return registry->AddCounter(
      "pga_collector_texts_redacted_total",
      "Statement texts by how their literals were found: by PostgreSQL's lexer, or by the careful "
      "way for texts that it refuses or that a setting makes ambiguous.",
      {{"source", source}, {"way", way}});
}

}  // namespace

TextRedactor::TextRedactor(QueryTextMode mode, metrics::Registry* registry, const std::string& source)
    : mode_(mode), by_lexer_(Texts(registry, source, "lexer")), careful_(Texts(registry, source, "careful")) {}

std::string TextRedactor::Redact(std::string_view text) {
  if (mode_ == QueryTextMode::kNone) return std::string();
  RedactedText redacted = RedactQuery(text, mode_);
  (redacted.careful ? careful_ : by_lexer_).Increment();
  return std::move(redacted.text);
}

}  // namespace pga::collector
