// One entry of a PostgreSQL log, whatever form it was written in. Texts are bytes as the server wrote them.
#pragma once

#include <cstdint>
#include <string>

namespace pga::collector {

enum class LogSeverity { kUnknown, kDebug, kInfo, kNotice, kWarning, kLog, kError, kFatal, kPanic };

// "ERROR" and so on; "unknown" for kUnknown.
const char* SeverityName(LogSeverity severity);

struct LogEntry {
  int64_t at_us = 0;  // since 1970; 0 = not written
  int64_t pid = 0;    // 0 = not written
  int64_t leader_pid = 0;
  int64_t query_id = 0;
  std::string session_id;
  int64_t session_line = 0;
  std::string user;
  std::string database;
  std::string application;
  std::string client;  // address or name, without the port
  std::string backend_type;
  std::string command_tag;
  std::string transaction_id;
  LogSeverity severity = LogSeverity::kUnknown;
  std::string sqlstate;  // five characters, or empty where it was not written
  std::string message;
  std::string detail;
  std::string hint;
  std::string internal_query;
  std::string context;
  std::string statement;
  std::string location;
  // A line that is no entry of the server: output of a command, a library or the loader. `message` is the line.
  bool foreign = false;
  // Its end was cut off, because it is longer than a reader takes.
  bool cut = false;
};

}  // namespace pga::collector
