#include "services/auth/service_secrets.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/config/config.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "libs/token/services.h"
#include "services/auth/digest.h"

namespace pga::auth {
namespace {

constexpr size_t kMinBytes = 32;

// Whether it reads like a value copied from an example instead of a random one.
bool LooksLikeAnExample(std::string_view secret) {
  const std::string lower = absl::AsciiStrToLower(absl::string_view(secret.data(), secret.size()));
  for (const char* word : {"change", "default", "example", "insecure", "your-", "your_", "secret-key", "pganalytics"}) {
    if (absl::StrContains(lower, word)) return true;
  }
  return lower.find_first_not_of(lower[0]) == std::string::npos;
}

}  // namespace

absl::Status CheckStrength(std::string_view secret, std::string_view name) {
  if (secret.size() < kMinBytes) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(name), ": at least ", kMinBytes,
                                                   " characters are needed in production: openssl rand -base64 32"));
  }
  if (LooksLikeAnExample(secret)) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(name), ": this is an example's value; make one: openssl rand -base64 32"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ServiceSecrets>> ServiceSecrets::Open(std::string folder, bool strong,
                                                                     clock::Clock* clock) {
  std::unique_ptr<ServiceSecrets> opened(new ServiceSecrets(std::move(folder), strong, clock));
  PGA_ASSIGN_OR_RETURN(Secrets secrets, opened->Read());
  absl::MutexLock lock(&opened->mutex_);
  opened->secrets_ = std::move(secrets);
  opened->read_at_ = clock->Steady();
  if (opened->folder_.empty()) return opened;
  for (const token::ServiceRow& row : token::kServices) {
    if (row.calls.empty() || opened->secrets_.contains(row.name)) continue;
    PGA_LOG(warn, "a service has no secret and gets no token", {{"name", row.name}, {"folder", opened->folder_}});
  }
  return opened;
}

absl::StatusOr<ServiceSecrets::Secrets> ServiceSecrets::Read() const {
  Secrets secrets;
  if (folder_.empty()) return secrets;
  std::error_code error;
  if (!std::filesystem::is_directory(folder_, error)) {
    return absl::InvalidArgumentError(absl::StrCat("SERVICE_SECRETS_DIR: ", folder_, " is no folder"));
  }
  std::map<std::string, std::string_view> owners;
  for (const token::ServiceRow& row : token::kServices) {
    // What calls nobody needs no token.
    if (row.calls.empty()) continue;
    const std::string path = absl::StrCat(folder_, "/", std::string(row.name));
    if (!std::filesystem::exists(path, error)) continue;
    const absl::StatusOr<std::string> text = config::ReadSecretFile(path);
    if (!text.ok()) return status::Annotate(text.status(), path);
    auto parsed = token::ParseServiceSecrets(*text);
    if (!parsed.ok()) return status::Annotate(parsed.status(), path);
    for (const std::string& secret : *parsed) {
      if (strong_) PGA_RETURN_IF_ERROR(CheckStrength(secret, path));
      const auto [owner, fresh] = owners.emplace(secret, row.name);
      if (!fresh && owner->second != row.name) {
        return absl::InvalidArgumentError(absl::StrCat(
            path, ": the same secret is that of ", std::string(owner->second), "; each service needs one of its own"));
      }
    }
    secrets[std::string(row.name)] = *std::move(parsed);
  }
  return secrets;
}

bool ServiceSecrets::Matches(std::string_view service, std::string_view secret) {
  absl::MutexLock lock(&mutex_);
  if (clock_->Steady() - read_at_ >= kReadAgainAfter) {
    read_at_ = clock_->Steady();
    absl::StatusOr<Secrets> fresh = Read();
    const std::string problem = fresh.ok() ? std::string() : std::string(fresh.status().message());
    if (!problem.empty() && problem != problem_) {
      PGA_LOG(error, "the services' secrets cannot be used; those read before stay in force", {{"problem", problem}});
    }
    problem_ = problem;
    if (fresh.ok()) secrets_ = *std::move(fresh);
  }
  const auto found = secrets_.find(service);
  if (found == secrets_.end()) return false;
  bool matches = false;
  // All are compared, so that the time does not tell which one it was.
  for (const std::string& known : found->second) matches |= SecretsEqual(secret, known);
  return matches;
}

}  // namespace pga::auth
