// Redaction of any bytes. The first byte chooses the mode of the input, the rest is the text. What PostgreSQL's lexer
// accepts is read alike by our own scanner, and no literal, number or comment of that lexing is in the normalized text.
// A full text is either as it was, up to where it is cut, or normalized.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "libs/frame/text.h"
#include "services/collector/postgres_lexer.h"
#include "services/collector/query_text.h"
#include "services/collector/sql_scanner.h"

namespace {

using namespace pga::collector;

void Require(bool holds, const char* what, std::string_view text, std::string_view result) {
  if (holds) return;
  std::fprintf(stderr, "%s\ntext: %.*s\nresult: %.*s\n", what, static_cast<int>(text.size()), text.data(),
               static_cast<int>(result.size()), result.data());
  std::abort();
}

bool IsBlank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool IsValue(const SqlToken& token) {
  return token.kind == SqlTokenKind::kLiteral || token.kind == SqlTokenKind::kNumber ||
         token.kind == SqlTokenKind::kComment;
}

// Whether `part`, without blanks and question marks, is `whole` with characters left out.
bool IsPartOf(std::string_view part, std::string_view whole) {
  size_t at = 0;
  for (const char c : part) {
    if (IsBlank(c) || c == '?') continue;
    at = whole.find(c, at);
    if (at == std::string_view::npos) return false;
    ++at;
  }
  return true;
}

// The text with a blank for each value of PostgreSQL's own lexing.
std::string WithoutValues(std::string_view text, const SqlReading& reading) {
  std::string out;
  size_t at = 0;
  for (const SqlToken& token : reading.tokens) {
    if (!IsValue(token)) continue;
    out.append(text.substr(at, token.begin - at)).push_back(' ');
    at = token.end;
  }
  return out.append(text.substr(at));
}

void CompareWithPostgres(const std::string& text, const std::string& normalized) {
  const std::optional<SqlReading> postgres = ScanWithPostgres(text);
  if (!postgres.has_value()) return;
  const std::string rest = WithoutValues(text, *postgres);
  Require(IsPartOf(normalized, rest), "the normalized text holds what is no name, keyword or operator", text,
          normalized);
  for (const SqlToken& token : postgres->tokens) {
    const std::string_view value = std::string_view(text).substr(token.begin, token.end - token.begin);
    if (!IsValue(token) || value.size() < 4 || rest.find(value) != std::string::npos) continue;
    Require(normalized.find(value) == std::string::npos, "a value of PostgreSQL's lexing is left", text, normalized);
  }
  // \v is a blank from 16 on only; the library is of 15.
  if (text.find('\v') != std::string::npos) return;
  const SqlReading own = ScanSql(text, {});
  Require(own.end == text.size(), "our scanner cuts what PostgreSQL's lexer accepts", text, normalized);
  std::string values;
  std::string theirs;
  for (const SqlToken& token : own.tokens) {
    if (IsValue(token)) values += std::to_string(token.begin) + "-" + std::to_string(token.end) + " ";
  }
  for (const SqlToken& token : postgres->tokens) {
    if (IsValue(token)) theirs += std::to_string(token.begin) + "-" + std::to_string(token.end) + " ";
  }
  Require(values == theirs, "our scanner differs from PostgreSQL's lexer", text, values + "| " + theirs);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const bool full = data[0] % 2 == 1;
  bool replaced = false;
  const std::string text = pga::frame::SanitizeText(std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1),
                                                    size_t{64} << 10, &replaced);
  const std::string normalized = RedactQuery(text, QueryTextMode::kNormalized).text;
  Require(pga::frame::IsValidText(normalized), "the result is no valid text", text, normalized);
  CompareWithPostgres(text, normalized);
  if (full) {
    const std::string kept = RedactQuery(text, QueryTextMode::kFull).text;
    Require(kept == normalized || text.compare(0, kept.size(), kept) == 0, "full is neither kept nor normalized", text,
            kept);
  }
  Require(RedactQuery(text, QueryTextMode::kNone).text.empty(), "none is not empty", text, normalized);
  return 0;
}
