// RedactQuery for one source, with its figures. Used on the event loop.
#pragma once

#include <string>
#include <string_view>

#include "libs/metrics/registry.h"
#include "services/collector/config.h"

namespace pga::collector {

class TextRedactor {
 public:
  // `registry` outlives the redactor.
  TextRedactor(QueryTextMode mode, metrics::Registry* registry, const std::string& source);

  QueryTextMode mode() const { return mode_; }
  // `text` is valid UTF-8 without NUL.
  std::string Redact(std::string_view text);

 private:
  const QueryTextMode mode_;
  metrics::Counter& by_lexer_;
  metrics::Counter& careful_;
};

}  // namespace pga::collector
