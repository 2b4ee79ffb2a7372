#include "services/auth/sealing_key.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"
#include "services/auth/key_files.h"

namespace pga::auth {
namespace {

absl::StatusOr<SealingKey> KeyOf(absl::StatusOr<token::SecretBox> box, std::string origin) {
  if (!box.ok()) return status::Annotate(box.status(), origin);
  PGA_ASSIGN_OR_RETURN(std::string id, box->Id());
  return SealingKey{*std::move(box), std::move(id), std::move(origin)};
}

}  // namespace

absl::StatusOr<SealingKey> LoadSealingKey(const AuthConfig& config) {
  if (!config.encryption_key.empty()) {
    return KeyOf(token::SecretBox::FromText(config.encryption_key.Reveal()), "ENCRYPTION_KEY");
  }
  if (!config.backup_key.empty()) return KeyOf(token::SecretBox::Derive(config.backup_key.Reveal()), "BACKUP_KEY");
  const absl::Status folder = MakeStateDir(config.StateDir());
  if (!folder.ok()) {
    return absl::Status(folder.code(), absl::StrCat(folder.message(),
                                                    ", or set ENCRYPTION_KEY, which makes the folder unnecessary: "
                                                    "openssl rand -base64 32"));
  }
  const std::string file = absl::StrCat(config.StateDir(), "/encryption-key");
  PGA_ASSIGN_OR_RETURN(const std::string text,
                       ReadOrMakeKeyFile(file, []() -> absl::StatusOr<std::string> { return token::RandomHex(32); }));
  return KeyOf(token::SecretBox::FromText(text), file);
}

}  // namespace pga::auth
