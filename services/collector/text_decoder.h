// Texts of a server, which arrive as the bytes that it stores, as valid UTF-8 without NUL. The server does not convert
// them (client_encoding = SQL_ASCII), because its conversion refuses a whole result for one bad byte and gives the same
// name different spellings in databases of different encodings. What cannot be converted becomes U+FFFD.
//
// Not thread-safe.
#pragma once

#include <iconv.h>

#include <string>
#include <string_view>

namespace pga::collector {

class TextDecoder {
 public:
  // For texts in `encoding`, a PostgreSQL name such as LATIN1. SQL_ASCII, MULE_INTERNAL and unknown encodings are read
  // as UTF-8.
  explicit TextDecoder(std::string_view encoding);
  TextDecoder() : TextDecoder("UTF8") {}
  ~TextDecoder();
  TextDecoder(TextDecoder&& other) noexcept;
  TextDecoder& operator=(TextDecoder&& other) noexcept;

  // A text of a database in the encoding. `*replaced` becomes true if a part was replaced, and is never set to false.
  std::string Decode(std::string_view bytes, size_t max_bytes, bool* replaced);
  // A name that all databases share, as those of databases and roles, or a text of a session of any database: it is in
  // the encoding of the database that it was made in, which nobody knows. UTF-8 if it is valid UTF-8, the encoding if
  // not.
  std::string DecodeShared(std::string_view bytes, size_t max_bytes, bool* replaced);

 private:
  iconv_t converter_;
};

}  // namespace pga::collector
