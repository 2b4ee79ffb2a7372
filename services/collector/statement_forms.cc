#include "services/collector/statement_forms.h"

#include <string>

#include "services/collector/bytes.h"
#include "services/collector/sql_scanner.h"

namespace pga::collector {
namespace {

bool IsConstant(const SqlToken& token, std::string_view text) {
  switch (token.kind) {
    case SqlTokenKind::kLiteral:
    case SqlTokenKind::kNumber:
    case SqlTokenKind::kParameter:
      return true;
    case SqlTokenKind::kWord:
      return IsWord(text, "true") || IsWord(text, "false") || IsWord(text, "null");
    default:
      return false;
  }
}

}  // namespace

int64_t StatementForm(std::string_view text) {
  // pg_stat_statements takes the sign into a constant, and from 18 on a list of constants as one.
  std::string form;
  for (const SqlToken& token : ScanSql(text, {}).tokens) {
    const std::string_view bytes = text.substr(token.begin, token.end - token.begin);
    if (token.kind == SqlTokenKind::kComment) continue;
    if (!IsConstant(token, bytes)) {
      form.append(bytes).push_back('\n');
      continue;
    }
    while (form.ends_with("-\n")) form.resize(form.size() - 2);
    if (form.ends_with("?\n,\n")) form.resize(form.size() - 4);
    form.append("?\n");
  }
  while (form.ends_with(";\n")) form.resize(form.size() - 2);
  const auto hash = static_cast<int64_t>(StableHash(form));
  return hash == 0 ? 1 : hash;
}

StatementForms::Key StatementForms::KeyOf(std::string_view database, int64_t number) {
  return StableHash(database, static_cast<uint64_t>(number) * 0x9e3779b97f4a7c15ULL);
}

void StatementForms::Set(std::string_view database, int64_t query_id, std::string_view text) {
  if (query_id == 0) return;
  const int64_t form = StatementForm(text);
  const auto known = forms_.find(KeyOf(database, query_id));
  if (known != forms_.end() && known->second == form) return;
  if (known == forms_.end() && forms_.size() >= kMostStatements) {
    forms_.clear();
    ids_.clear();
  }
  forms_[KeyOf(database, query_id)] = form;
  const auto [id, is_new] = ids_.try_emplace(KeyOf(database, form), query_id);
  if (!is_new && id->second != query_id) id->second = 0;
}

int64_t StatementForms::IdOf(std::string_view database, std::string_view statement, int64_t logged_id) const {
  const int64_t form = StatementForm(statement);
  const auto known = forms_.find(KeyOf(database, logged_id));
  if (known != forms_.end() && known->second == form) return logged_id;
  const auto id = ids_.find(KeyOf(database, form));
  if (id != ids_.end() && id->second != 0) return id->second;
  // A new statement, whose text was not read yet.
  if (logged_id != 0 && !forms_.empty() && known == forms_.end()) return logged_id;
  return form;
}

bool StatementForms::Shared(std::string_view database, int64_t query_id) const {
  const auto form = forms_.find(KeyOf(database, query_id));
  if (form == forms_.end()) return false;
  const auto id = ids_.find(KeyOf(database, form->second));
  return id != ids_.end() && id->second == 0;
}

}  // namespace pga::collector
