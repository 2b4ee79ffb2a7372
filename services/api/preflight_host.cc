// What this host says: certificate, ports, the folder of state.
#include <netdb.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/clock/clock.h"
#include "libs/token/pem.h"
#include "services/api/preflight.h"

namespace pga::api {
namespace {

constexpr absl::Duration kRenewWithin = absl::Hours(24 * 21);
// Keys, and nothing that grows.
constexpr int64_t kStateBytes = 100'000'000;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct SocketCloser {
  int fd;
  ~SocketCloser() {
    if (fd >= 0) close(fd);
  }
};

void CheckPort(const std::string& name, const std::string& variable, const std::string& host, const std::string& port,
               PreflightReport* report) {
  const std::string where = absl::StrCat(host, ":", port);
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0 || found == nullptr) {
    report->Add(name, CheckState::kFail, absl::StrCat(where, " is no address and port"),
                absl::StrCat("correct ", variable));
    return;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  const SocketCloser socket_owner{socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int on = 1;
  setsockopt(socket_owner.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(socket_owner.fd, found->ai_addr, found->ai_addrlen) == 0 && listen(socket_owner.fd, 1) == 0) {
    report->Add(name, CheckState::kOk, absl::StrCat(where, " is free"));
    return;
  }
  const int error = errno;
  const std::string detail = absl::StrCat(where, ": ", std::strerror(error));
  if (error == EADDRINUSE) {
    report->Add(name, CheckState::kFail, detail,
                absl::StrCat("`ss -tlnp | grep :", port, "` names the process: stop it, or set ", variable,
                             " to another port"));
  } else if (error == EACCES) {
    report->Add(name, CheckState::kFail, detail,
                absl::StrCat("ports below 1024 are root's: set ", variable, " to a higher one"));
  } else {
    report->Add(name, CheckState::kFail, detail, absl::StrCat("set ", variable, " to an address of this host"));
  }
}

void CheckStateFolder(const ApiConfig& config, PreflightReport* report) {
  const std::string folder = config.auth.StateDir();
  std::error_code error;
  std::filesystem::path there(std::filesystem::absolute(folder, error));
  while (!std::filesystem::exists(there, error) && there.has_relative_path()) there = there.parent_path();
  if (!std::filesystem::is_directory(there, error) || access(there.c_str(), W_OK | X_OK) != 0) {
    report->Add("state", CheckState::kFail, absl::StrCat(folder, " cannot be written by this user"),
                absl::StrCat("install -d -o USER -m 700 ", folder, ", or set STATE_DIR"));
    return;
  }
  const std::filesystem::space_info space = std::filesystem::space(there, error);
  const double free = static_cast<double>(space.available) / 1e9;
  if (!error && space.available < static_cast<std::uintmax_t>(kStateBytes)) {
    report->Add("state", CheckState::kFail, absl::StrFormat("%s: %.2f GB are free", folder, free), "free 1 GB there");
    return;
  }
  report->Add("state", CheckState::kOk, absl::StrFormat("%s can be written, %.1f GB are free", folder, free));
}

}  // namespace

void internal::CheckCertificate(const std::string& cert_path, const std::string& key_path, absl::Time now,
                                PreflightReport* report) {
  for (const auto& [variable, path] : {std::pair{"TLS_CERT_PATH", cert_path}, std::pair{"TLS_KEY_PATH", key_path}}) {
    if (!path.empty() && access(path.c_str(), R_OK) == 0) continue;
    report->Add("tls.files", CheckState::kFail,
                absl::StrCat(variable, " ", path, ": ", std::strerror(path.empty() ? ENOENT : errno)),
                absl::StrCat("put the file there, readable by the user that runs the suite (chown, chmod 640)"));
    return;
  }
  const std::string pem = ReadFile(cert_path);
  const token::CertificatePtr cert = token::ReadCertificate(pem);
  const token::KeyPtr key = token::ReadPrivateKey(ReadFile(key_path));
  if (cert == nullptr || key == nullptr) {
    report->Add("tls.files", CheckState::kFail,
                cert == nullptr ? absl::StrCat(cert_path, " holds no PEM certificate")
                                : absl::StrCat(key_path, " holds no PEM private key without passphrase"),
                "convert it: openssl x509 -in FILE -out cert.pem; openssl pkey -in FILE -out key.pem");
    return;
  }
  if (X509_check_private_key(cert.get(), key.get()) != 1) {
    report->Add("tls.files", CheckState::kFail, absl::StrCat(cert_path, " and ", key_path, " do not belong together"),
                "name the key that the certificate was made for");
    return;
  }
  report->Add("tls.files", CheckState::kOk, "certificate and key belong together");

  std::tm end{};
  std::tm begin{};
  ASN1_TIME_to_tm(X509_get0_notAfter(cert.get()), &end);
  ASN1_TIME_to_tm(X509_get0_notBefore(cert.get()), &begin);
  const absl::Time ends = absl::FromTM(end, absl::UTCTimeZone());
  const absl::Time begins = absl::FromTM(begin, absl::UTCTimeZone());
  const std::string until =
      absl::StrCat("valid until ", absl::FormatTime(absl::RFC3339_sec, ends, absl::UTCTimeZone()));
  if (now > ends) {
    report->Add("tls.expiry", CheckState::kFail,
                absl::StrCat("not valid since ", absl::FormatTime(absl::RFC3339_sec, ends, absl::UTCTimeZone())),
                "renew the certificate; it is read again without a restart");
  } else if (now < begins) {
    report->Add("tls.expiry", CheckState::kFail,
                absl::StrCat("valid from ", absl::FormatTime(absl::RFC3339_sec, begins, absl::UTCTimeZone()), " on"),
                "set this host's clock, or wait");
  } else if (ends - now < kRenewWithin) {
    report->Add("tls.expiry", CheckState::kWarn, until, "renew the certificate; it is read again without a restart");
  } else {
    report->Add("tls.expiry", CheckState::kOk, until);
  }
  if (X509_get_ext_by_NID(cert.get(), NID_subject_alt_name, -1) < 0) {
    report->Add("tls.names", CheckState::kFail, "the certificate has no subject alternative name; clients refuse it",
                "make it with the name that people and collectors use");
  }

  // The chain as clients verify it: leaf, what the file holds besides, the system's store.
  const std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> store(X509_STORE_new(), &X509_STORE_free);
  X509_STORE_set_default_paths(store.get());
  STACK_OF(X509)* chain = sk_X509_new_null();
  std::vector<token::CertificatePtr> owners;
  constexpr std::string_view kEnd = "-----END CERTIFICATE-----";
  for (size_t at = pem.find(kEnd); at != std::string::npos; at = pem.find(kEnd, at + 1)) {
    token::CertificatePtr next = token::ReadCertificate(std::string_view(pem).substr(at + kEnd.size()));
    if (next == nullptr) break;
    sk_X509_push(chain, next.get());
    owners.push_back(std::move(next));
  }
  const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> context(X509_STORE_CTX_new(),
                                                                                &X509_STORE_CTX_free);
  X509_STORE_CTX_init(context.get(), store.get(), cert.get(), chain);
  X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context.get()), absl::ToTimeT(now));
  const bool verified = X509_verify_cert(context.get()) == 1;
  const int code = X509_STORE_CTX_get_error(context.get());
  sk_X509_free(chain);
  if (verified) {
    report->Add("tls.chain", CheckState::kOk, "known to this host's CAs");
  } else if (code != X509_V_ERR_CERT_HAS_EXPIRED && code != X509_V_ERR_CERT_NOT_YET_VALID) {
    report->Add("tls.chain", CheckState::kWarn, X509_verify_cert_error_string(code),
                "put the intermediate certificates into the file after the certificate; with a CA of your own give its "
                "certificate to "
                "clients (BACKEND_CA_FILE of collectors)");
  }
}

void internal::CheckHost(const ApiConfig& config, PreflightReport* report) {
  if (config.gateway.tls_enabled) {
    CheckCertificate(config.gateway.tls_cert_path, config.gateway.tls_key_path, clock::WallNow(), report);
  } else if (config.auth.production()) {
    report->Add("tls", CheckState::kWarn, "TLS_ENABLED is off: passwords and tokens travel in clear",
                "TLS_ENABLED=true, TLS_CERT_PATH and TLS_KEY_PATH; or a proxy on this host that ends TLS");
  } else {
    report->Add("tls", CheckState::kSkip, "TLS_ENABLED is off");
  }
  CheckPort("port", "PORT", config.gateway.ListenAddress(), absl::StrCat(config.gateway.port), report);
  if (!config.metrics_listen.empty()) {
    const size_t colon = config.metrics_listen.rfind(':');
    CheckPort("port.metrics", "METRICS_LISTEN", config.metrics_listen.substr(0, colon),
              config.metrics_listen.substr(colon + 1), report);
  }
  CheckStateFolder(config, report);
}

}  // namespace pga::api
