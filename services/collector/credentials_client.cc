#include <fcntl.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"
#include "libs/token/pem.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"
#include "services/collector/credentials.h"
#include "services/collector/durable_file.h"

namespace pga::collector {
namespace {

namespace registrypb = ::pganalytics::registry::v1;
using registrypb::EnrolmentService;

std::string Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return in ? text.str() : std::string();
}

}  // namespace

absl::StatusOr<std::string> MakeCertificateRequest(const std::string& key_pem, const std::string& common_name) {
  const token::KeyPtr key = token::ReadPrivateKey(key_pem);
  if (key == nullptr) return absl::InvalidArgumentError("the private key cannot be read");
  const token::RequestPtr request(X509_REQ_new());
  X509_NAME* name = X509_REQ_get_subject_name(request.get());
  if (X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common_name.c_str()),
                                 -1, -1, 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0) {
    return absl::InternalError("a certificate request could not be made");
  }
  return token::CertificateRequestPem(request.get());
}

Credentials::Credentials(std::string state_dir, std::string collector_id, std::string collector_name,
                         log::Secret secret)
    : state_dir_(std::move(state_dir)),
      collector_id_(std::move(collector_id)),
      collector_name_(std::move(collector_name)),
      secret_(std::move(secret)) {}

absl::Status Credentials::Load() {
  key_pem_ = Slurp(key_path());
  if (key_pem_.empty()) {
    PGA_ASSIGN_OR_RETURN(key_pem_, token::GenerateKeyPem());
    PGA_RETURN_IF_ERROR(WritePrivateFile(key_path(), key_pem_));
  }
  // Lines: collector id, token, its issue and expiry, the certificate's expiry (Unix seconds).
  const std::vector<std::string> lines = absl::StrSplit(Slurp(state_dir_ + "/credentials"), '\n');
  int64_t since = 0;
  int64_t token = 0;
  int64_t certificate = 0;
  if (lines.size() >= 5 && lines[0] == collector_id_ && absl::SimpleAtoi(lines[2], &since) &&
      absl::SimpleAtoi(lines[3], &token) && absl::SimpleAtoi(lines[4], &certificate)) {
    token_ = lines[1];
    token_since_ = absl::FromUnixSeconds(since);
    token_expires_ = absl::FromUnixSeconds(token);
    certificate_expires_ = absl::FromUnixSeconds(certificate);
    has_certificate_ = access(certificate_path().c_str(), R_OK) == 0;
  }
  return absl::OkStatus();
}

bool Credentials::NeedsRenewal(absl::Time now) const {
  if (!enrolled()) return false;
  // At two thirds of the token's life, and a week before the certificate ends.
  return now > token_expires_ - (token_expires_ - token_since_) / 3 ||
         (has_certificate_ && now > certificate_expires_ - absl::Hours(24 * 7));
}

template <typename Response>
absl::Status Credentials::Store(const Response& response) {
  if (response.token().empty()) return absl::InternalError("the backend sent no token");
  token_ = response.token();
  token_since_ = clock::WallNow();
  token_expires_ = absl::FromUnixSeconds(response.token_expires_at().seconds());
  certificate_expires_ = absl::FromUnixSeconds(response.certificate_expires_at().seconds());
  has_certificate_ = !response.certificate_pem().empty();
  if (has_certificate_) PGA_RETURN_IF_ERROR(WritePrivateFile(certificate_path(), response.certificate_pem()));
  return WritePrivateFile(
      state_dir_ + "/credentials",
      absl::StrCat(collector_id_, "\n", token_, "\n", absl::ToUnixSeconds(token_since_), "\n",
                   absl::ToUnixSeconds(token_expires_), "\n", absl::ToUnixSeconds(certificate_expires_), "\n"));
}

absl::Status Credentials::Enrol(const std::shared_ptr<grpc::Channel>& channel, rpc::Canceller* canceller) {
  if (secret_.empty()) {
    return absl::FailedPreconditionError("no credentials yet, and REGISTRATION_SECRET is not set");
  }
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  registrypb::EnrolRequest request;
  request.set_collector_id(collector_id_);
  request.set_name(collector_name_);
  request.set_hostname(host);
  request.set_version(PGA_VERSION);
  PGA_ASSIGN_OR_RETURN(*request.mutable_csr_pem(), MakeCertificateRequest(key_pem_, collector_id_));
  rpc::CallOptions options;
  options.deadline = clock::SteadyNow() + absl::Seconds(20);
  options.canceller = canceller;
  options.metadata = {{"x-registration-secret", secret_.Reveal()}};
  const auto stub = EnrolmentService::NewStub(channel);
  PGA_ASSIGN_OR_RETURN(const registrypb::EnrolResponse response,
                       rpc::Call(*stub, &EnrolmentService::Stub::Enrol, request, options));
  return Store(response);
}

absl::Status Credentials::Renew(const std::shared_ptr<grpc::Channel>& channel, bool token_refused,
                                rpc::Canceller* canceller) {
  registrypb::RenewRequest request;
  request.set_version(PGA_VERSION);
  PGA_ASSIGN_OR_RETURN(*request.mutable_csr_pem(), MakeCertificateRequest(key_pem_, collector_id_));
  rpc::CallOptions options;
  options.deadline = clock::SteadyNow() + absl::Seconds(20);
  options.canceller = canceller;
  if (!token_refused && clock::WallNow() < token_expires_) options.bearer = token_;
  const auto stub = EnrolmentService::NewStub(channel);
  PGA_ASSIGN_OR_RETURN(const registrypb::EnrolResponse response,
                       rpc::Call(*stub, &EnrolmentService::Stub::Renew, request, options));
  return Store(response);
}

void Credentials::Forget() {
  token_.clear();
  has_certificate_ = false;
  unlink((state_dir_ + "/credentials").c_str());
}

}  // namespace pga::collector
