#include "services/collector/text_decoder.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "libs/frame/text.h"

namespace pga::collector {
namespace {

struct Name {
  std::string_view postgres;
  const char* iconv;
};

// src/common/encnames.c of PostgreSQL, without those that no converter knows.
constexpr Name kNames[] = {{"LATIN1", "ISO-8859-1"},     {"LATIN2", "ISO-8859-2"},
                           {"LATIN3", "ISO-8859-3"},     {"LATIN4", "ISO-8859-4"},
                           {"LATIN5", "ISO-8859-9"},     {"LATIN6", "ISO-8859-10"},
                           {"LATIN7", "ISO-8859-13"},    {"LATIN8", "ISO-8859-14"},
                           {"LATIN9", "ISO-8859-15"},    {"LATIN10", "ISO-8859-16"},
                           {"ISO_8859_5", "ISO-8859-5"}, {"ISO_8859_6", "ISO-8859-6"},
                           {"ISO_8859_7", "ISO-8859-7"}, {"ISO_8859_8", "ISO-8859-8"},
                           {"KOI8R", "KOI8-R"},          {"KOI8U", "KOI8-U"},
                           {"WIN866", "CP866"},          {"WIN874", "CP874"},
                           {"WIN1250", "CP1250"},        {"WIN1251", "CP1251"},
                           {"WIN1252", "CP1252"},        {"WIN1253", "CP1253"},
                           {"WIN1254", "CP1254"},        {"WIN1255", "CP1255"},
                           {"WIN1256", "CP1256"},        {"WIN1257", "CP1257"},
                           {"WIN1258", "CP1258"},        {"EUC_JP", "EUC-JP"},
                           {"EUC_CN", "EUC-CN"},         {"EUC_KR", "EUC-KR"},
                           {"EUC_TW", "EUC-TW"},         {"EUC_JIS_2004", "EUC-JISX0213"}};

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

const iconv_t kNone = reinterpret_cast<iconv_t>(-1);  // NOLINT: the value that iconv_open gives

iconv_t Open(std::string_view encoding) {
  const auto name =
      std::find_if(std::begin(kNames), std::end(kNames), [encoding](const Name& n) { return n.postgres == encoding; });
  return name == std::end(kNames) ? kNone : iconv_open("UTF-8", name->iconv);
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) > 0; });
}

}  // namespace

TextDecoder::TextDecoder(std::string_view encoding) : converter_(Open(encoding)) {}

TextDecoder::~TextDecoder() {
  if (converter_ != kNone) iconv_close(converter_);
}

TextDecoder::TextDecoder(TextDecoder&& other) noexcept : converter_(std::exchange(other.converter_, kNone)) {}

TextDecoder& TextDecoder::operator=(TextDecoder&& other) noexcept {
  std::swap(converter_, other.converter_);
  return *this;
}

std::string TextDecoder::Decode(std::string_view bytes, size_t max_bytes, bool* replaced) {
  if (converter_ == kNone || IsAscii(bytes)) return frame::SanitizeText(bytes, max_bytes, replaced);
  std::string out;
  std::string in(bytes);
  char* from = in.data();
  size_t left = in.size();
  iconv(converter_, nullptr, nullptr, nullptr, nullptr);
  while (left > 0 && out.size() < max_bytes) {
    char buffer[1024];
    char* to = buffer;
    size_t room = sizeof buffer;
    const size_t done = iconv(converter_, &from, &left, &to, &room);
    out.append(buffer, sizeof buffer - room);
    if (done != static_cast<size_t>(-1) || errno == E2BIG) continue;
    // A byte that is no character, or the first of one that was cut.
    out.append(kReplacement);
    *replaced = true;
    ++from;
    --left;
  }
  return frame::SanitizeText(out, max_bytes, replaced);
}

std::string TextDecoder::DecodeShared(std::string_view bytes, size_t max_bytes, bool* replaced) {
  if (converter_ == kNone || frame::IsValidText(bytes)) return frame::SanitizeText(bytes, max_bytes, replaced);
  return Decode(bytes, max_bytes, replaced);
}

}  // namespace pga::collector
