#include "services/gateway/gateway_testing.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "libs/clock/steady.h"

namespace pga::gateway {
namespace {

namespace auth = pganalytics::auth::v1;
namespace ingest = pganalytics::ingest::v1;
namespace query = pganalytics::query::v1;
namespace registry = pganalytics::registry::v1;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

ServerUnaryReactor* Finish(CallbackServerContext* context, const grpc::Status& status = grpc::Status::OK) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

class AuthStandIn final : public auth::AuthService::CallbackService {
 public:
  explicit AuthStandIn(Observed* observed) : observed_(observed) {}

  ServerUnaryReactor* Login(CallbackServerContext* context, const auth::LoginRequest* request,
                            auth::LoginResponse* response) override {
    observed_->Note(*context);
    if (request->username() == "locked") {
      google::rpc::Status status;
      status.set_code(8);
      status.set_message("Too many failed sign-ins.");
      google::rpc::ErrorInfo info;
      info.set_reason("ACCOUNT_LOCKED");
      status.add_details()->PackFrom(info);
      google::rpc::RetryInfo retry;
      retry.mutable_retry_delay()->set_seconds(41);
      status.add_details()->PackFrom(retry);
      return Finish(context, grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "", status.SerializeAsString()));
    }
    if (request->password() != "secret") {
      return Finish(context, grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "Wrong username or password."));
    }
    response->set_token("abc");
    response->mutable_user()->set_username(request->username());
    return Finish(context);
  }

  ServerUnaryReactor* CreateUser(CallbackServerContext* context, const auth::CreateUserRequest* request,
                                 auth::User* response) override {
    observed_->Note(*context);
    response->set_id(8);
    response->set_username(request->username());
    return Finish(context);
  }

  ServerUnaryReactor* UpdateUser(CallbackServerContext* context, const auth::UpdateUserRequest* request,
                                 auth::User* response) override {
    observed_->Note(*context);
    response->set_id(request->id());
    response->set_is_active(request->is_active());
    response->set_role(request->has_role() ? request->role() : "unchanged");
    return Finish(context);
  }

  ServerUnaryReactor* DeleteUser(CallbackServerContext* context, const auth::DeleteUserRequest* request,
                                 auth::MessageResponse* response) override {
    observed_->Note(*context);
    if (request->id() == 404) return Finish(context, grpc::Status(grpc::StatusCode::NOT_FOUND, "No such user."));
    response->set_message("gone");
    return Finish(context);
  }

  grpc::ServerWriteReactor<auth::User>* ListUsers(CallbackServerContext* context,
                                                  const auth::ListUsersRequest*) override {
    observed_->Note(*context);
    return new Users(observed_);
  }

 private:
  class Users final : public grpc::ServerWriteReactor<auth::User> {
   public:
    explicit Users(Observed* observed) : observed_(observed) { Step(); }
    void OnWriteDone(bool ok) override {
      if (ok) {
        ++observed_->streamed;
        Step();
      } else {
        Finish(grpc::Status::CANCELLED);
      }
    }
    void OnCancel() override { ++observed_->cancelled; }
    void OnDone() override { delete this; }

   private:
    void Step() {
      if (sent_ == observed_->stream_length) {
        Finish(grpc::Status(static_cast<grpc::StatusCode>(observed_->stream_code.load()), "Stream failed."));
        return;
      }
      user_.set_id(++sent_);
      user_.set_full_name(std::string(observed_->stream_length > 1000 ? 10000 : 10, 'x'));
      StartWrite(&user_);
    }
    Observed* const observed_;
    auth::User user_;
    int sent_ = 0;
  };

  Observed* const observed_;
};

class SystemStandIn final : public query::SystemService::CallbackService {
 public:
  explicit SystemStandIn(Observed* observed) : observed_(observed) {}
  ServerUnaryReactor* GetHealth(CallbackServerContext* context, const query::GetHealthRequest*,
                                query::GetHealthResponse* response) override {
    observed_->Note(*context);
    const bool degraded = !observed_->Metadata("x-request-id").compare("degraded");
    response->set_status(degraded ? "degraded" : "healthy");
    response->set_version("3.2.0");
    response->mutable_timestamp()->set_seconds(1772100180);
    response->mutable_timestamp()->set_nanos(5000000);
    if (degraded) context->AddInitialMetadata("x-http-code", "503");
    return Finish(context);
  }

 private:
  Observed* const observed_;
};

class QueryStandIn final : public query::QueryService::CallbackService {
 public:
  explicit QueryStandIn(Observed* observed) : observed_(observed) {}
  ServerUnaryReactor* CountMetrics(CallbackServerContext* context, const query::CountMetricsRequest*,
                                   query::CountMetricsResponse* response) override {
    observed_->Note(*context);
    response->set_count(9007199254740991.0);
    return Finish(context);
  }
  ServerUnaryReactor* GetMetrics(CallbackServerContext* context, const query::GetMetricsRequest*,
                                 query::GetMetricsResponse* response) override {
    observed_->Note(*context);
    if (observed_->hang) return new Hanging(observed_);
    response->set_count(42);
    for (int i = 0; i < 200; ++i) (*response->mutable_by_type())["metric_number_" + std::to_string(i)] = i;
    return Finish(context);
  }
  ServerUnaryReactor* TopQueries(CallbackServerContext* context, const query::TopQueriesRequest* request,
                                 query::TopQueriesResponse* response) override {
    observed_->Note(*context);
    response->set_count(request->hours() * 1000 + request->source_size());
    *response->mutable_start() = request->start();
    return Finish(context);
  }

 private:
  class Hanging final : public ServerUnaryReactor {
   public:
    explicit Hanging(Observed* observed) : observed_(observed) {}
    void OnCancel() override {
      ++observed_->cancelled;
      Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

   private:
    Observed* const observed_;
  };
  Observed* const observed_;
};

class RegistryStandIn final : public registry::RegistryService::CallbackService {
 public:
  explicit RegistryStandIn(Observed* observed) : observed_(observed) {}
  ServerUnaryReactor* GetConfig(CallbackServerContext* context, const registry::GetConfigRequest* request,
                                google::api::HttpBody* response) override {
    observed_->Note(*context);
    response->set_content_type("text/plain");
    response->set_data("# of " + request->collector_id() + "\n");
    context->AddInitialMetadata("x-config-version", "17");
    context->AddInitialMetadata("x-internal", "hidden");
    return Finish(context);
  }
  ServerUnaryReactor* PutConfig(CallbackServerContext* context, const registry::PutConfigRequest* request,
                                registry::PutConfigResponse* response) override {
    observed_->Note(*context);
    response->set_collector_id(request->collector_id());
    response->set_message(request->body().content_type() + "|" + request->body().data());
    return Finish(context);
  }
  ServerUnaryReactor* RegisterCollector(CallbackServerContext* context,
                                        const registry::RegisterCollectorRequest* request,
                                        registry::RegisterCollectorResponse* response) override {
    observed_->Note(*context);
    response->set_collector_id(request->name());
    return Finish(context);
  }

 private:
  Observed* const observed_;
};

class IngestStandIn final : public ingest::IngestService::CallbackService {
 public:
  explicit IngestStandIn(Observed* observed) : observed_(observed) {}
  ServerUnaryReactor* PushMetrics(CallbackServerContext* context, const ingest::PushMetricsRequest* request,
                                  ingest::PushMetricsResponse* response) override {
    observed_->Note(*context);
    response->set_status("success");
    response->set_bytes_received(static_cast<int32_t>(request->body().data().size()));
    return Finish(context);
  }
  grpc::ServerBidiReactor<ingest::StreamBatchesRequest, ingest::StreamBatchesResponse>* StreamBatches(
      CallbackServerContext* context) override {
    observed_->Note(*context);
    return new Echo();
  }

 private:
  // Acknowledges every batch.
  class Echo final : public grpc::ServerBidiReactor<ingest::StreamBatchesRequest, ingest::StreamBatchesResponse> {
   public:
    Echo() { StartRead(&request_); }
    void OnReadDone(bool ok) override {
      if (!ok) {
        Finish(grpc::Status::OK);
        return;
      }
      response_.mutable_ack()->set_last_seq(request_.hello().config_version());
      StartWrite(&response_);
    }
    void OnWriteDone(bool ok) override {
      if (ok) StartRead(&request_);
    }
    void OnDone() override { delete this; }

   private:
    ingest::StreamBatchesRequest request_;
    ingest::StreamBatchesResponse response_;
  };
  Observed* const observed_;
};

}  // namespace

void Observed::Note(const CallbackServerContext& context) {
  ++calls;
  absl::MutexLock lock(&mutex);
  metadata.clear();
  for (const auto& [key, value] : context.client_metadata()) {
    metadata.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
}

std::string Observed::Metadata(const std::string& key) {
  absl::MutexLock lock(&mutex);
  std::string out;
  const auto [begin, end] = metadata.equal_range(key);
  for (auto it = begin; it != end; ++it) out += (out.empty() ? "" : "|") + it->second;
  return out;
}

struct StandIns::Services {
  explicit Services(Observed* observed)
      : auth(observed), system(observed), query(observed), registry(observed), ingest(observed) {}
  AuthStandIn auth;
  SystemStandIn system;
  QueryStandIn query;
  RegistryStandIn registry;
  IngestStandIn ingest;
};

StandIns::StandIns(rpc::TlsOptions tls, std::vector<std::string> listen)
    : services_(std::make_unique<Services>(&observed)) {
  rpc::Server::Options options;
  options.name = "stand-ins";
  options.tls = std::move(tls);
  options.listen = std::move(listen);
  options.services = {&services_->auth, &services_->system, &services_->query, &services_->registry,
                      &services_->ingest};
  options.max_receive_bytes = 16 << 20;
  options.external_acceptor = true;
  auto started = rpc::Server::Start(std::move(options));
  EXPECT_TRUE(started.ok()) << started.status();
  if (started.ok()) server = *std::move(started);
}

StandIns::~StandIns() = default;

GatewayUnderTest::Options Unlimited() {
  GatewayUnderTest::Options options;
  options.config.rate_limit_per_minute = 0;
  options.config.rate_limit_user_per_minute = 0;
  return options;
}

GatewayUnderTest::GatewayUnderTest() : GatewayUnderTest(Options()) {}

GatewayUnderTest::GatewayUnderTest(Options options)
    : stand_ins(options.grpc_tls,
                options.splice ? std::vector<std::string>{"127.0.0.1:0"} : std::vector<std::string>{}) {
  EXPECT_TRUE(verifier.SetHmacSecrets({kTestSecret}).ok());
  auto made = token::Signer::FromSecret(kTestSecret);
  EXPECT_TRUE(made.ok());
  signer = *std::move(made);
  options.config.port = 0;
  GatewayService::Deps deps;
  deps.metrics = &metrics;
  deps.clock = &clock;
  deps.verifier = &verifier;
  deps.revocations = &revocations;
  deps.channels = {{"", stand_ins.server->InProcessChannel()}};
  deps.service_token = [] { return std::string("gateway-token"); };
  if (options.splice) {
    deps.ingest_address = "127.0.0.1:" + std::to_string(stand_ins.server->ports().at(0));
  } else {
    deps.hand_over = [this](int fd, std::string bytes) {
      return stand_ins.server->AcceptConnection(fd, std::move(bytes));
    };
  }
  auto created = GatewayService::Create(options.config, std::move(deps));
  EXPECT_TRUE(created.ok()) << created.status();
  gateway = *std::move(created);
  const absl::Status started = gateway->Start();
  EXPECT_TRUE(started.ok()) << started;
}

GatewayUnderTest::~GatewayUnderTest() {
  gateway->Drain(clock::SteadyNow());
}

std::string GatewayUnderTest::UserToken(const std::string& role, int32_t user_id, absl::Duration age) {
  token::Claims claims;
  claims.principal.kind = token::Principal::kUser;
  claims.principal.user_id = user_id;
  claims.principal.username = "u" + std::to_string(user_id);
  claims.principal.role = role;
  claims.principal.issued_at = clock.Now() - age;
  claims.principal.expires_at = clock.Now() - age + absl::Hours(1);
  return *signer->Sign(claims);
}

std::string GatewayUnderTest::CollectorToken(const std::string& collector_id) {
  token::Claims claims;
  claims.principal.kind = token::Principal::kCollector;
  claims.principal.collector_id = collector_id;
  claims.principal.issued_at = clock.Now();
  claims.principal.expires_at = clock.Now() + absl::Hours(1);
  return *signer->Sign(claims);
}

std::string GatewayUnderTest::ServiceToken() {
  token::Claims claims;
  claims.principal.kind = token::Principal::kService;
  claims.principal.service = "query";
  claims.principal.issued_at = clock.Now();
  claims.principal.expires_at = clock.Now() + absl::Hours(1);
  return *signer->Sign(claims);
}

RawClient::RawClient(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

RawClient::~RawClient() {
  Close();
}

void RawClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void RawClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

bool RawClient::Fill() {
  pollfd state{fd_, POLLIN, 0};
  const int64_t left = absl::ToInt64Milliseconds(deadline_ - clock::SteadyNow());
  if (left <= 0 || poll(&state, 1, static_cast<int>(left)) <= 0) return false;
  char bytes[16384];
  const ssize_t got = recv(fd_, bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

bool RawClient::Closed() {
  deadline_ = clock::SteadyNow() + absl::Seconds(30);
  while (buffer_.empty() && Fill()) {
  }
  return buffer_.empty() && clock::SteadyNow() < deadline_;
}

std::string RawClient::ReadAll() {
  while (Fill()) {
  }
  return std::exchange(buffer_, std::string());
}

size_t RawClient::Drink(size_t bytes) {
  while (buffer_.size() < bytes && Fill()) {
  }
  const size_t taken = std::min(bytes, buffer_.size());
  buffer_.erase(0, taken);
  return taken;
}

HttpReply RawClient::Read(bool head) {
  HttpReply reply;
  size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) return reply;
  }
  const std::string text = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  reply.code = std::atoi(text.c_str() + std::min<size_t>(9, text.size()));
  for (size_t at = text.find("\r\n") + 2; at < text.size();) {
    const size_t line_end = text.find("\r\n", at);
    const std::string line = text.substr(at, line_end - at);
    at = line_end + 2;
    const size_t colon = line.find(": ");
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(tolower(c)); });
    std::string& value = reply.headers[name];
    value += (value.empty() ? "" : ", ") + line.substr(colon + 2);
  }
  if (head || reply.code == 204 || reply.code == 304 || reply.code == 100) {
    reply.complete = true;
    return reply;
  }
  if (reply.Header("transfer-encoding") == "chunked") {
    while (true) {
      size_t line = 0;
      while ((line = buffer_.find("\r\n")) == std::string::npos) {
        if (!Fill()) return reply;
      }
      const size_t size = std::stoul(buffer_.substr(0, line), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2) {
        if (!Fill()) return reply;
      }
      reply.body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) break;
    }
    reply.complete = true;
    return reply;
  }
  if (reply.headers.count("content-length") == 0) {
    while (Fill()) {
    }
    reply.body.swap(buffer_);
    return reply;
  }
  const size_t size = std::stoul(reply.Header("content-length"));
  while (buffer_.size() < size) {
    if (!Fill()) break;
  }
  reply.complete = buffer_.size() >= size;
  reply.body = buffer_.substr(0, size);
  buffer_.erase(0, std::min(size, buffer_.size()));
  return reply;
}

std::string MakeRequest(const std::string& method, const std::string& target, const std::string& body,
                        const std::vector<std::string>& headers) {
  std::string out = method + " " + target + " HTTP/1.1\r\nHost: test\r\n";
  for (const std::string& header : headers) out += header + "\r\n";
  if (!body.empty()) out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return out + "\r\n" + body;
}

HttpReply Fetch(int port, const std::string& method, const std::string& target, const std::string& body,
                const std::vector<std::string>& headers) {
  RawClient client(port);
  client.Send(MakeRequest(method, target, body, headers));
  return client.Read(method == "HEAD");
}

std::string Bearer(const std::string& token) {
  return "Authorization: Bearer " + token;
}

}  // namespace pga::gateway
