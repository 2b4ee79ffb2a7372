#pragma once

// The stops of a frame on its way from a collector to the database, as docs/life-of-a-frame.md lists them. Each stop
// writes one debug line with its file and function; a test compares the lines of a traced frame with the document.

#include <cstdint>
#include <string_view>

#include "libs/log/log.h"

namespace pga::log {

// The part of a compiler's file name that begins at the repository's root.
constexpr std::string_view RepositoryPath(std::string_view file) {
  for (const std::string_view area : {std::string_view("services/"), std::string_view("libs/")}) {
    const size_t at = file.rfind(area);
    if (at != std::string_view::npos) return file.substr(at);
  }
  return file;
}

}  // namespace pga::log

// PGA_FRAME_STOP(metric name, collected_at in microseconds); costs one comparison when the level is not debug.
#define PGA_FRAME_STOP(metric, collected_at_us)                                          \
  PGA_LOG(debug, "frame stop",                                                           \
          {{"file", ::pga::log::RepositoryPath(__FILE__)},                               \
           {"function", __func__},                                                       \
           {"metric", std::string_view(metric)},                                         \
           {"collected_at_us", static_cast<int64_t>(collected_at_us)}})
