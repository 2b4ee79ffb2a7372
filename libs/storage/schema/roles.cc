#include "libs/storage/schema/roles.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

// What services step down to, without login; and what people and dashboards sign in as.
struct Roles {
  std::vector<std::string> services;
  std::vector<std::string> readers;
};

const Roles& RolesOf(Database database) {
  static const auto* const metadata =
      new Roles{{"pganalytics_auth", "pganalytics_registry", "pganalytics_ruler", "pganalytics_insight"}, {}};
  static const auto* const metrics = new Roles{{"pganalytics_ingest", "pganalytics_query", "pganalytics_maintenance"},
                                               {"pganalytics_reader", "pganalytics_reader_texts"}};
  return database == Database::kMetadata ? *metadata : *metrics;
}

std::string Array(const std::vector<std::string>& names) {
  return names.empty() ? "ARRAY[]::text[]" : absl::StrCat("ARRAY['", absl::StrJoin(names, "', '"), "']");
}

// Within $$: names and quotes of PL/pgSQL alone. A reader has no password until an administrator sets one. A snapshot
// that stays open keeps frames from being merged: hence the limit of idle transactions.
constexpr char kMakeRoles[] = R"sql(DO $$
DECLARE
  wanted  text;
  readers text[] := @readers@;
BEGIN
  FOREACH wanted IN ARRAY @services@ || readers LOOP
    CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted);
    BEGIN
      IF wanted = ANY (readers) THEN
        EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT 10', wanted);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''60s''', wanted);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''60s''', wanted);
        EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', wanted);
        -- Compiling a query of schema readable takes longer than most of them do.
        EXECUTE format('ALTER ROLE %I SET jit = off', wanted);
      ELSE
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      END IF;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'role % was not created, because login % may not create roles; services use the login''s own rights in place of it. To separate rights, let an administrator run what `pganalytics-api migrate roles` prints, and run the migration again', wanted, session_user;
    END;
  END LOOP;
END
$$)sql";

constexpr char kTakeFromPublic[] = R"sql(DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_database d
             CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
             WHERE d.datname = pg_catalog.current_database() AND pg_catalog.pg_has_role(d.datdba, 'USAGE')
               AND a.grantee = 0 AND a.privilege_type = 'TEMPORARY') THEN
    BEGIN
      EXECUTE pg_catalog.format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', pg_catalog.current_database());
    EXCEPTION
      -- Somebody else changes the row of the database at this moment; the next migration takes the right away.
      WHEN internal_error THEN
        RAISE NOTICE 'everybody may make temporary tables in database %: %', pg_catalog.current_database(), SQLERRM;
    END;
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace n
             CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
             WHERE n.nspname = 'public' AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')
               AND a.grantee = 0 AND a.privilege_type = 'CREATE') THEN
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
  END IF;
  -- Another login cannot take them away; an administrator does (AdministratorSql).
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) THEN
    @large_objects@;
  END IF;
END
$$)sql";

// What makes large objects belongs to a superuser in each database.
constexpr char kTakeLargeObjects[] =
    "REVOKE EXECUTE ON FUNCTION pg_catalog.lo_creat(int4), pg_catalog.lo_create(oid), "
    "pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC";

// A variable of psql: the connection string of a database. `name` is an expression of SQL.
std::string SetConnection(const std::string& variable, const std::string& name) {
  return absl::StrCat("SELECT pg_catalog.concat('dbname=''', pg_catalog.replace(pg_catalog.replace(", name,
                      R"(, E'\\', E'\\\\'), '''', E'\\'''), '''') AS )", variable, " \\gset\n");
}

// E'' reads backslashes whatever the server's settings are.
std::string Literal(const std::string& text) {
  return absl::StrCat("E", pg::QuoteLiteral(absl::StrReplaceAll(text, {{"\\", "\\\\"}})));
}

}  // namespace

std::string RolesSql(Database database) {
  const Roles& roles = RolesOf(database);
  return absl::StrReplaceAll(kMakeRoles, {{"@services@", Array(roles.services)}, {"@readers@", Array(roles.readers)}});
}

std::string TakeFromPublicSql() {
  return absl::StrReplaceAll(kTakeFromPublic, {{"@large_objects@", kTakeLargeObjects}});
}

absl::StatusOr<std::string> AdministratorSql(std::string_view url, Database database) {
  PGA_ASSIGN_OR_RETURN(const std::string user, pg::ConninfoValue(url, "user"));
  PGA_ASSIGN_OR_RETURN(const std::string name, pg::ConninfoValue(url, "dbname"));
  if (user.empty() || name.empty()) {
    return absl::InvalidArgumentError("the connection string names no user or no database");
  }
  // format() quotes names.
  const std::string login = Literal(user);
  const std::string target = Literal(name);
  std::string sql = absl::StrCat(RolesSql(database), ";\n");
  absl::StrAppend(&sql, "SELECT format('CREATE ROLE %I LOGIN', ", login,
                  ") WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ", login, ") \\gexec\n");
  for (const std::string& role : RolesOf(database).services) {
    absl::StrAppend(&sql, "SELECT format('GRANT ", role, " TO %I', ", login,
                    ") WHERE NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = ", login, ") \\gexec\n");
  }
  absl::StrAppend(&sql, "SELECT format('CREATE DATABASE %I OWNER %I', ", target, ", ", login,
                  ") WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = ", target, ") \\gexec\n");
  if (database == Database::kMetrics) {
    // Rights on functions are those of one database.
    absl::StrAppend(&sql, SetConnection("pga_before", "pg_catalog.current_database()"),
                    SetConnection("pga_target", target), "\\connect -reuse-previous=on :\"pga_target\"\n",
                    kTakeLargeObjects, ";\n", "\\connect -reuse-previous=on :\"pga_before\"\n");
  }
  return sql;
}

}  // namespace pga::storage
