// Installs pganalytics.explain as an administrator does: what the collector prints, run by psql.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"

namespace pga::collector {

// What psql says, and its exit code.
inline absl::StatusOr<testing::CommandOutcome> InstallExplain(const testing::TempPostgres& server,
                                                              const std::string& database, const std::string& login,
                                                              const std::string& rights = "read") {
  const testing::ScopedTempDir folder;
  auto script = testing::RunCommand({.argv = {testing::Program("pganalytics-collector"), "--explain-setup"}});
  if (!script.ok()) return script;
  std::ofstream(folder / "setup.sql", std::ios::binary) << script->output;
  return testing::RunCommand(
      {.argv = {"psql", "--no-psqlrc", "--quiet", "-v", absl::StrCat("login=", login), "-v",
                absl::StrCat("rights=", rights), "-f", folder / "setup.sql", "-d", server.Url(database)}});
}

}  // namespace pga::collector
