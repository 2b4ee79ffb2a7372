// Rights and connections that are wider than they need to be, as far as the catalog's metrics show them.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/query/insight/advice.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

// The role that initdb made: it cannot lose the attribute.
constexpr char kBootstrapRole[] = "10";
constexpr double kDay = 86'400;
constexpr double kPasswordDays = 14;

void Roles(const SourceFacts& facts, Findings* findings) {
  const Fact* const fact = Known(facts, "roles", "security_superuser security_password_expires", findings);
  if (fact == nullptr) return;
  const double now = absl::ToDoubleSeconds(facts.end - absl::UnixEpoch());
  for (const FactRow& row : fact->rows) {
    const std::string& name = row.Text("rolname");
    if (!row.Is("can_login")) continue;
    if (row.Is("is_superuser") && row.Text("roleid") != kBootstrapRole) {
      Advice advice;
      advice.kind = "security_superuser";
      advice.object = Identifier(name);
      advice.what = absl::StrCat("Role ", advice.object, " may sign in and is bound by no right.");
      advice.why.push_back("rolsuper and rolcanlogin are true; it is not the role that initdb made.");
      advice.command = absl::StrCat("ALTER ROLE ", advice.object, " NOSUPERUSER;");
      advice.instruction = "Grant what it needs before: pg_monitor, pg_read_all_data, rights on its tables.";
      advice.certainty = Certainty::kPossible;
      advice.certainty_reason = "It may be an administrator's; what it needs is not seen.";
      findings->advice.push_back(std::move(advice));
    }
    const std::optional<double> until = row.Number("valid_until");
    if (until && *until > now - 365 * kDay && *until - now < kPasswordDays * kDay) {
      Advice advice;
      advice.kind = "security_password_expires";
      advice.object = Identifier(name);
      const bool over = *until < now;
      advice.what = absl::StrCat("The password of role ", advice.object, over ? " has ended." : " ends soon.");
      advice.why.push_back(absl::StrCat(over ? "It ended " : "It ends in ",
                                        TimeText(over ? now - *until : *until - now), over ? " ago." : "."));
      advice.command =
          absl::StrCat("ALTER ROLE ", advice.object, " VALID UNTIL '",
                       absl::FormatTime("%Y-%m-%d", facts.end + absl::Hours(24 * 90), absl::UTCTimeZone()), "';");
      advice.instruction = "Give it another password at the same time.";
      advice.certainty = Certainty::kCertain;
      advice.certainty_reason = "pg_roles.rolvaliduntil says so.";
      advice.figures = {{"days_left", (*until - now) / kDay}};
      findings->advice.push_back(std::move(advice));
    }
  }
}

void Schemas(const SourceFacts& facts, Findings* findings) {
  const Fact* const fact = Known(facts, "schemas", "security_public_create", findings);
  if (fact == nullptr) return;
  for (const FactRow& row : fact->rows) {
    for (const std::string& grant :
         std::vector<std::string>(absl::StrSplit(row.Text("grants"), absl::ByAnyChar("{}, \n"), absl::SkipEmpty()))) {
      // "=UC/owner": what everybody may.
      const std::string rights = grant.substr(0, grant.find('/'));
      if (rights.empty() || rights[0] != '=' || rights.find('C') == std::string::npos) continue;
      Advice advice;
      advice.kind = "security_public_create";
      advice.database = row.Text("datname");
      advice.schema = row.Text("schemaname");
      advice.object = Identifier(advice.schema);
      advice.what =
          absl::StrCat("Everybody may create objects in schema ", advice.object, " of database ", advice.database, ".");
      advice.why.push_back(absl::StrCat("Its rights hold ", grant,
                                        ": a function placed there is run by others' statements (CVE-2018-1058)."));
      advice.command = absl::StrCat("REVOKE CREATE ON SCHEMA ", advice.object, " FROM PUBLIC;");
      advice.instruction = "Grant it to the roles that create objects there.";
      advice.certainty = Certainty::kCertain;
      advice.certainty_reason = "pg_namespace.nspacl says so.";
      findings->advice.push_back(std::move(advice));
      break;
    }
  }
}

void Connections(const SourceFacts& facts, Findings* findings) {
  const Fact* const fact = Known(facts, "connections", "security_unencrypted", findings);
  if (fact == nullptr) return;
  double open = 0;
  std::string example;
  for (const FactRow& row : fact->rows) {
    const std::string& address = row.Text("client_addr");
    const bool here = address.empty() || absl::StartsWith(address, "127.") || address == "::1";
    if (here || row.Text("is_ssl") != "false" || row.Is("is_gss_encrypted") || row.Amount("sessions") <= 0) continue;
    open += row.Amount("sessions");
    if (example.empty()) example = absl::StrCat(row.Text("usename"), " from ", address);
  }
  if (open == 0) return;
  Advice advice;
  advice.kind = "security_unencrypted";
  advice.object = "pg_hba.conf";
  advice.what = "Sessions from other hosts are not encrypted.";
  advice.why.push_back(absl::StrCat(CountText(open), " sessions as read last, such as ", example, "."));
  if (Setting(facts, "ssl").value_or("on") == "off") {
    advice.command = "ALTER SYSTEM SET ssl = 'on';\nSELECT pg_reload_conf();";
    advice.why.push_back("ssl = off: the server offers no encryption.");
  }
  advice.instruction = "A certificate for the server, and hostssl in place of host in pg_hba.conf.";
  advice.certainty = Certainty::kCertain;
  advice.certainty_reason = "pg_stat_ssl says so.";
  advice.figures = {{"sessions", open}};
  findings->advice.push_back(std::move(advice));
}

}  // namespace

void JudgeSecurity(const SourceFacts& facts, Findings* findings) {
  Roles(facts, findings);
  Schemas(facts, findings);
  Connections(facts, findings);
}

}  // namespace pga::query
