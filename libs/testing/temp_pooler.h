// Debian's PgBouncer in front of one server of the tests, reached by a Unix socket. Ends with the object. Tests only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"

namespace pga::testing {

class TempPooler {
 public:
  // `mode` is PgBouncer's pool_mode; every database of `server` is offered to `users`, none of whom needs a password.
  // NOT_FOUND without the package.
  static absl::StatusOr<std::unique_ptr<TempPooler>> Start(const TempPostgres& server, const std::string& mode,
                                                           const std::vector<std::string>& users);

  const std::string& socket_dir() const { return dir_.path(); }
  static constexpr int port() { return 6432; }
  std::string Log() const;

 private:
  TempPooler() = default;
  ScopedTempDir dir_;
  std::unique_ptr<Subprocess> process_;
};

}  // namespace pga::testing
