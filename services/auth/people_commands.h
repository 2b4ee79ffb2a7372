#pragma once

// What is done for people's accounts where nobody can sign in: by whoever may read the service's settings, with the
// database alone. Commands of the programs, and the first start.

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "services/auth/auth_store.h"
#include "services/auth/config.h"
#include "services/auth/password_hasher.h"

namespace pga::auth {

// Makes an account of role admin if there are no users at all; whether it did. INVALID_ARGUMENT for a bad name.
absl::StatusOr<bool> MakeFirstPerson(AuthStore* store, PasswordHasher* hasher, clock::Clock* clock,
                                     const std::string& username, const std::string& password,
                                     clock::SteadyTime deadline);

// For --help.
inline constexpr char kAdminCommandsHelp[] =
    "    admin create [NAME]            make the first account (admin), of role admin; prints its password\n"
    "    admin reset-password NAME      give an account a random password and print it; ends its sessions";

// Runs `admin create [NAME]` or `admin reset-password NAME`; `words` begin with "admin". What a person reads goes line
// by line to `print`. INVALID_ARGUMENT for other words; FAILED_PRECONDITION when there are users already; NOT_FOUND for
// an unknown name. Needs DATABASE_URL of `config` alone.
absl::Status RunAdminCommand(const AuthConfig& config, const std::vector<std::string>& words,
                             const std::function<void(const std::string&)>& print);

}  // namespace pga::auth
