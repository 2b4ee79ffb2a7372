#pragma once

// A gateway in front of small stand-ins of the real services, and a raw HTTP client that sends exactly the bytes it is
// given. Tests only.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/server.h"
#include "libs/token/signer.h"
#include "libs/token/verifier.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/gateway/server.h"

namespace pga::gateway {

// ---- Stand-ins ----

// What the services saw last, and what they shall do. Thread-safe.
struct Observed {
  absl::Mutex mutex;
  std::multimap<std::string, std::string> metadata ABSL_GUARDED_BY(mutex);
  std::atomic<int> calls{0};
  std::atomic<int> cancelled{0};
  std::atomic<int> streamed{0};
  // Messages ListUsers sends, and the gRPC code it ends with.
  std::atomic<int> stream_length{2};
  std::atomic<int> stream_code{0};
  // GetMetrics hangs until cancelled or released.
  std::atomic<bool> hang{false};

  void Note(const grpc::CallbackServerContext& context);
  // Values of a key, joined by '|'.
  std::string Metadata(const std::string& key);
};

class StandIns {
 public:
  // With `tls`, connections handed over speak TLS.
  explicit StandIns(rpc::TlsOptions tls = {}, std::vector<std::string> listen = {});
  ~StandIns();

  Observed observed;
  std::unique_ptr<rpc::Server> server;

 private:
  struct Services;
  std::unique_ptr<Services> services_;
};

// ---- Gateway under test ----

inline constexpr char kTestSecret[] = "0123456789abcdef0123456789abcdef";

class GatewayUnderTest {
 public:
  struct Options {
    GatewayConfig config;
    rpc::TlsOptions grpc_tls;
    // Splice to a listening server instead of handing sockets over.
    bool splice = false;
  };
  GatewayUnderTest();
  explicit GatewayUnderTest(Options options);
  ~GatewayUnderTest();

  int port() const { return gateway->port(); }
  std::string UserToken(const std::string& role, int32_t user_id = 7, absl::Duration age = absl::ZeroDuration());
  std::string CollectorToken(const std::string& collector_id);
  std::string ServiceToken();

  clock::FakeClock clock;
  metrics::Registry metrics{false};
  token::Verifier verifier;
  token::RevocationSet revocations;
  std::unique_ptr<token::Signer> signer;
  StandIns stand_ins;
  std::unique_ptr<GatewayService> gateway;
};

// Without limits of rate.
GatewayUnderTest::Options Unlimited();

// ---- Raw HTTP ----

struct HttpReply {
  // 0 = the connection ended, or nothing came in time.
  int code = 0;
  // Names in lower case; repeated ones joined by ", ".
  std::map<std::string, std::string> headers;
  // Chunks joined; `complete` says whether the end was seen.
  std::string body;
  bool complete = false;

  std::string Header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

class RawClient {
 public:
  explicit RawClient(int port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void Send(std::string_view bytes);
  // The next answer; interim 100 answers are answers too. `head` = the request was HEAD.
  HttpReply Read(bool head = false);
  // Whether the server closes the connection (and sends nothing more) within the limit.
  bool Closed();
  // All that comes until the server closes.
  std::string ReadAll();
  // Receives up to `bytes` bytes and returns how many came.
  size_t Drink(size_t bytes);
  void Close();
  int fd() const { return fd_; }

 private:
  bool Fill();
  int fd_;
  std::string buffer_;
  clock::SteadyTime deadline_ = clock::SteadyNow() + absl::Seconds(60);
};

// One request on a connection of its own.
HttpReply Fetch(int port, const std::string& method, const std::string& target, const std::string& body = {},
                const std::vector<std::string>& headers = {});

// The same text with Host added: "GET /x" plus headers, body with Content-Length when not empty.
std::string MakeRequest(const std::string& method, const std::string& target, const std::string& body = {},
                        const std::vector<std::string>& headers = {});

// The header of a token.
std::string Bearer(const std::string& token);

}  // namespace pga::gateway
