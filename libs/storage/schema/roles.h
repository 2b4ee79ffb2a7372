// Roles of the two databases. They belong to the server and hold no data; which of them may do what is said by the
// migrations. A migration makes those that are missing if its login may; where it may not, an administrator runs
// AdministratorSql once, and the login needs no CREATEROLE.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/storage/schema/migrations.h"

namespace pga::storage {

// One DO statement that makes the missing roles of `database`, with the limits of those that are logins. Where the
// login may not make them, a notice names each and what to run. Repeating it changes nothing.
std::string RolesSql(Database database);

// One DO statement that takes from PUBLIC what readers of the metrics database have no use for: temporary tables, which
// everybody may make by default, and before PostgreSQL 15 tables in schema public. As far as the login owns these;
// repeating it changes nothing. It is run outside of a larger transaction, since it locks the row of the database.
std::string TakeFromPublicSql();

// A script for psql, run by an administrator on the server of `url`: the roles, the login of `url` with leave to step
// down to those that services use, and the database, owned by it. It holds no password. Repeating it changes nothing.
// INVALID_ARGUMENT when `url` cannot be parsed or names no user or no database.
absl::StatusOr<std::string> AdministratorSql(std::string_view url, Database database);

}  // namespace pga::storage
