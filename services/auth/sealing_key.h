#pragma once

// The key that seals what auth keeps in the database.

#include <string>

#include "absl/status/statusor.h"
#include "libs/token/secret_box.h"
#include "services/auth/config.h"

namespace pga::auth {

struct SealingKey {
  token::SecretBox box;
  std::string id;      // token::SecretBox::Id()
  std::string origin;  // for messages: the setting or the file it comes from
};

// ENCRYPTION_KEY, else derived from BACKUP_KEY, else kept in STATE_DIR/encryption-key, which is made at the first
// start. FAILED_PRECONDITION when that file can be neither read nor made; INVALID_ARGUMENT when it holds no key.
absl::StatusOr<SealingKey> LoadSealingKey(const AuthConfig& config);

}  // namespace pga::auth
