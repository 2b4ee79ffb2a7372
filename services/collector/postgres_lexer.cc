#include "services/collector/postgres_lexer.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <pg_query.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace pga::collector {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// pg_query.proto: enum Token, messages ScanResult and ScanToken.
enum PostgresToken : uint32_t {
  kIdent = 258,
  kUnicodeIdent = 259,
  kFloat = 260,
  kString = 261,
  kUnicodeString = 262,
  kBits = 263,
  kHexBits = 264,
  kOperator = 265,
  kInteger = 266,
  kParam = 267,
  kFirstComment = 275,
  kLastComment = 276,
};
constexpr int kTokensField = 2;
constexpr int kStartField = 1;
constexpr int kEndField = 2;
constexpr int kTokenField = 4;

SqlTokenKind KindOf(uint32_t token, std::string_view text) {
  switch (token) {
    case kIdent:
      return text[0] == '"' ? SqlTokenKind::kQuotedIdentifier : SqlTokenKind::kWord;
    case kUnicodeIdent:
      return SqlTokenKind::kQuotedIdentifier;
    case kString:
    case kUnicodeString:
    case kBits:
    case kHexBits:
      return SqlTokenKind::kLiteral;
    case kFloat:
    case kInteger:
      return SqlTokenKind::kNumber;
    case kParam:
      return SqlTokenKind::kParameter;
    case kFirstComment:
    case kLastComment:
      return SqlTokenKind::kComment;
    default:
      return token > kLastComment ? SqlTokenKind::kWord : SqlTokenKind::kOther;
  }
}

// libpg_query gives comments as tokens and so ends a literal at a comment behind it, where PostgreSQL continues the
// literal on the next line: 'a' -- comment, new line, 'b'.
bool LosesContinuation(std::string_view text, const std::vector<SqlToken>& tokens) {
  for (size_t i = 0; i + 2 < tokens.size(); ++i) {
    if (tokens[i].kind != SqlTokenKind::kLiteral || tokens[i + 1].kind != SqlTokenKind::kComment) continue;
    size_t next = i + 2;
    while (next < tokens.size() && tokens[next].kind == SqlTokenKind::kComment) ++next;
    if (next < tokens.size() && text[tokens[next].begin] == '\'') return true;
  }
  return false;
}

bool IsBlank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// A ScanToken as it is sent.
struct RawToken {
  uint32_t start = 0;
  uint32_t end = 0;
  uint32_t token = 0;
};

bool ReadToken(CodedInputStream* in, RawToken* raw) {
  uint32_t size = 0;
  if (!in->ReadVarint32(&size)) return false;
  const CodedInputStream::Limit limit = in->PushLimit(static_cast<int>(size));
  while (const uint32_t tag = in->ReadTag()) {
    uint32_t value = 0;
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_VARINT || !in->ReadVarint32(&value)) {
      return false;
    }
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    if (field == kStartField) raw->start = value;
    if (field == kEndField) raw->end = value;
    if (field == kTokenField) raw->token = value;
  }
  in->PopLimit(limit);
  return true;
}

bool ReadTokens(const PgQueryProtobuf& scan, std::vector<RawToken>* tokens) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(scan.data), static_cast<int>(scan.len));
  while (const uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) == kTokensField) {
      if (!ReadToken(&in, &tokens->emplace_back())) return false;
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return false;
    }
  }
  return true;
}

// False if the tokens do not lie in the text one behind the other.
bool Place(const std::vector<RawToken>& raw, std::string_view text, SqlReading* reading) {
  size_t before = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    const size_t start = raw[i].start;
    size_t end = raw[i].end;
    // libpg_query gives no end of U&'' and U&"". Nothing but blanks is between tokens.
    if (raw[i].token == kUnicodeIdent || raw[i].token == kUnicodeString) {
      end = i + 1 < raw.size() ? raw[i + 1].start : text.size();
      while (end > start && end <= text.size() && IsBlank(text[end - 1])) --end;
    }
    if (start < before || end <= start || end > text.size()) return false;
    reading->tokens.push_back({start, end, KindOf(raw[i].token, text.substr(start, end - start)), false});
    before = end;
  }
  return true;
}

}  // namespace

std::optional<SqlReading> ScanWithPostgres(const std::string& text) {
  PgQueryScanResult scan = pg_query_scan(text.c_str());
  const std::unique_ptr<PgQueryScanResult, void (*)(PgQueryScanResult*)> owner(
      &scan, [](PgQueryScanResult* result) { pg_query_free_scan_result(*result); });
  if (scan.error != nullptr) return std::nullopt;
  SqlReading reading;
  reading.end = text.size();
  std::vector<RawToken> raw;
  if (!ReadTokens(scan.pbuf, &raw) || !Place(raw, text, &reading)) return std::nullopt;
  if (LosesContinuation(text, reading.tokens)) return std::nullopt;
  return reading;
}

}  // namespace pga::collector
