// Any bytes as a log in each of its forms: what is read is classified and redacted, pieces are consumed, nothing is
// read twice. The first byte chooses the form.
#include <cstdlib>
#include <string>

#include "services/collector/log_classes.h"
#include "services/collector/log_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pga::collector;
  static const auto* const kParsers = new std::unique_ptr<LogParser>[4] {
    MakeStderrParser(LogLinePrefix("%m [%p] %q%u@%d ", 180000), LogClock("UTC")),
        MakeStderrParser(LogLinePrefix("%t:%r:%u@%d:[%p]:%-8e|%10a|%c %l %v %x ", 180000), LogClock("UTC")),
        MakeCsvParser(LogClock("UTC")), MakeJsonParser(LogClock("UTC"))
  };
  if (size == 0) return 0;
  const LogParser& parser = *kParsers[data[0] % 4];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (const LogEnd end : {LogEnd::kOpen, LogEnd::kQuiet, LogEnd::kFull}) {
    LogParseCounts counts;
    const size_t done = parser.Parse(
        bytes, end,
        [](const LogEntry& from) {
          LogEntry entry = from;
          MakeUtf8(&entry);
          const LogClasses& classes = LogClasses::Builtin();
          classes.Redact(entry, classes.Classify(entry), QueryTextMode::kNormalized);
        },
        &counts);
    if (done > bytes.size()) std::abort();
    // A full buffer always goes on.
    if (end == LogEnd::kFull && !bytes.empty() && done == 0) std::abort();
  }
  return 0;
}
