#include "libs/openapi/builtin.h"

#include <cstddef>

namespace pga::openapi {

extern const unsigned char kDocumentBytes[];
extern const std::size_t kDocumentSize;

std::string_view BuiltinDocument() {
  return {reinterpret_cast<const char*>(kDocumentBytes), kDocumentSize};
}

}  // namespace pga::openapi
