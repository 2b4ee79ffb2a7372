// A certificate authority in memory for tests of TLS: issues server and client certificates of any shape, good and bad.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/clock/clock.h"

namespace pga::rpc {

struct TestCertificate {
  std::string cert_pem;
  std::string key_pem;
};

class TestCa {
 public:
  struct Request {
    std::string common_name = "test";
    std::vector<std::string> dns = {};
    std::vector<std::string> ips = {};
    std::vector<std::string> uris = {};
    absl::Time not_before = clock::WallNow() - absl::Minutes(5);
    absl::Time not_after = clock::WallNow() + absl::Hours(1);
    bool is_ca = false;
  };

  explicit TestCa(const std::string& name = "test CA");
  const std::string& pem() const { return own_.cert_pem; }
  TestCertificate Issue(const Request& request) const;
  // For localhost and 127.0.0.1.
  TestCertificate Server() const;
  // With the URI of that collector.
  TestCertificate Collector(const std::string& collector_id) const;

 private:
  static TestCertificate Sign(const Request& request, EVP_PKEY* key, EVP_PKEY* issuer_key, const X509* issuer);

  std::shared_ptr<EVP_PKEY> key_;
  std::shared_ptr<X509> cert_;
  TestCertificate own_;
};

}  // namespace pga::rpc
