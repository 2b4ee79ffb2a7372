#pragma once

// The console's files, built once and embedded. Which request is for one of them, and in what form it is sent: no
// sockets here. Pure, thread-safe.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "services/gateway/http_error.h"
#include "services/gateway/request_head.h"

namespace pga::gateway {

struct ConsoleFile {
  // "/index.html", "/assets/..."
  std::string_view path;
  std::string_view content_type;
  // With its quotes.
  std::string_view etag;
  // The name has a hash of the content: it may be kept for ever.
  bool immutable;
  // Bytes before compression.
  std::size_t size;
  std::string_view gzip;
  std::string_view brotli;
};

// Written by services/console/tools/embed.ts.
std::span<const ConsoleFile> EmbeddedConsoleFiles();
// First segments of the console's pages.
std::span<const std::string_view> EmbeddedConsolePageRoots();

// The file for a path, or null. "/" and the console's own pages are index.html; /api/ never is.
const ConsoleFile* FindConsoleFile(std::string_view path);

struct ConsoleAnswer {
  int code = 200;
  // ETag, Content-Encoding, Vary, Cache-Control.
  HeaderList headers;
  // Without a body for 304. Lives as long as the program.
  std::string_view body;
};

// What `head` (GET or HEAD) gets of the file: 304 where If-None-Match names it, else the smallest form that
// Accept-Encoding takes.
ConsoleAnswer AnswerConsoleFile(const ConsoleFile& file, const RequestHead& head);

}  // namespace pga::gateway
