// PostgreSQL's five-letter error codes as absl::Status. Codes say what the caller should do:
//   RESOURCE_EXHAUSTED   too many connections, disk or memory full: wait, then repeat
//   UNAVAILABLE          no connection, or the server is starting or stopping: repeat
//   ABORTED              serialization failure, deadlock, lock timeout: redo the transaction
//   DEADLINE_EXCEEDED    statement timeout or cancel (57014)
//   UNKNOWN              connection lost during COMMIT: it may have happened
//   ALREADY_EXISTS       unique violation
//   FAILED_PRECONDITION  other constraint violations, read-only server, objects in the wrong state
//   INVALID_ARGUMENT     data that a type refuses (class 22)
//   PERMISSION_DENIED    42501, 28xxx
//   NOT_FOUND            missing database, schema, table, column, function
//   INTERNAL             the rest
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "libs/status/payloads.h"

struct pg_conn;

namespace pga::pg {

// `message` is the server's primary message; line breaks at its end are cut. The code stays readable by SqlStateOf.
absl::Status MakeError(std::string_view sqlstate, std::string_view message);

// Why a connection could not be made, with the server's SQLSTATE where it refused, 28P01 when a password is wanted and
// none given, 08001 otherwise. The connection's error verbosity must have been PQERRORS_VERBOSE while it was made.
absl::Status ConnectFailure(const pg_conn* connection);

// The code of an error of this library.
using status::SqlStateOf;

}  // namespace pga::pg
