#include "services/gateway/console_files.h"

#include <algorithm>
#include <map>

#include "absl/base/const_init.h"
#include "absl/synchronization/mutex.h"
#include "services/gateway/gzip.h"

namespace pga::gateway {
namespace {

constexpr std::string_view kIndex = "/index.html";

const ConsoleFile* FileNamed(std::string_view path) {
  for (const ConsoleFile& file : EmbeddedConsoleFiles()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

// RFC 9110, 13.1.2: a list of tags, compared weakly.
bool NamesTag(std::string_view if_none_match, std::string_view etag) {
  while (!if_none_match.empty()) {
    const size_t end = std::min(if_none_match.find(','), if_none_match.size());
    std::string_view one = if_none_match.substr(0, end);
    if_none_match.remove_prefix(std::min(end + 1, if_none_match.size()));
    one.remove_prefix(std::min(one.find_first_not_of(" \t"), one.size()));
    one = one.substr(0, one.find_last_not_of(" \t") + 1);
    if (one == "*") return true;
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == etag) return true;
  }
  return false;
}

// For the few who take no compression: unpacked when the first of them asks, and then kept once for all, however slowly
// they read.
std::string_view PlainBytes(const ConsoleFile& file) {
  static absl::Mutex mutex(absl::kConstInit);
  static auto* const kept = new std::map<const ConsoleFile*, std::string>;
  absl::MutexLock lock(&mutex);
  std::string& bytes = (*kept)[&file];
  if (bytes.empty()) bytes = Unpack(file.gzip, file.size).value_or("");
  return bytes;
}

}  // namespace

const ConsoleFile* FindConsoleFile(std::string_view path) {
  if (path == "/") return FileNamed(kIndex);
  if (!path.starts_with('/')) return nullptr;
  if (const ConsoleFile* file = FileNamed(path)) return file;
  const std::string_view root = path.substr(1, path.substr(1).find('/'));
  const auto roots = EmbeddedConsolePageRoots();
  return std::find(roots.begin(), roots.end(), root) == roots.end() ? nullptr : FileNamed(kIndex);
}

ConsoleAnswer AnswerConsoleFile(const ConsoleFile& file, const RequestHead& head) {
  ConsoleAnswer answer;
  answer.headers.emplace_back("ETag", file.etag);
  answer.headers.emplace_back("Vary", "Accept-Encoding");
  answer.headers.emplace_back("Cache-Control", file.immutable ? "public, max-age=31536000, immutable" : "no-cache");
  const std::string* known = head.Find("if-none-match");
  if (known != nullptr && NamesTag(*known, file.etag)) {
    answer.code = 304;
    return answer;
  }
  const std::string* accept = head.Find("accept-encoding");
  if (accept != nullptr && AcceptsBrotli(*accept)) {
    answer.headers.emplace_back("Content-Encoding", "br");
    answer.body = file.brotli;
  } else if (accept != nullptr && AcceptsGzip(*accept)) {
    answer.headers.emplace_back("Content-Encoding", "gzip");
    answer.body = file.gzip;
  } else {
    answer.body = PlainBytes(file);
    if (answer.body.empty()) answer.code = 500;
  }
  return answer;
}

}  // namespace pga::gateway
