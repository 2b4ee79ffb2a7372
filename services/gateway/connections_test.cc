// One port for everybody: TLS, gRPC passed through untouched, start errors; and an API known from a file alone.

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/dynamic_message.h"
#include "gtest/gtest.h"
#include "libs/clock/steady.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/tls_client_testing.h"
#include "libs/status/testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "services/gateway/api_surface.h"
#include "services/gateway/gateway_testing.h"

namespace pga::gateway {
namespace {

namespace ingest = pganalytics::ingest::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Certificate files of a CA of our own.
struct TlsFiles {
  TlsFiles() {
    Write(ca.Server());
    EXPECT_TRUE(testing::WriteFile(ca_path(), ca.pem()).ok());
  }
  void Write(const rpc::TestCertificate& certificate) {
    EXPECT_TRUE(testing::WriteFile(cert_path(), certificate.cert_pem).ok());
    EXPECT_TRUE(testing::WriteFile(key_path(), certificate.key_pem).ok());
  }
  std::string cert_path() const { return dir / "cert.pem"; }
  std::string key_path() const { return dir / "key.pem"; }
  std::string ca_path() const { return dir / "ca.pem"; }

  rpc::TestCa ca;
  testing::ScopedTempDir dir;
};

GatewayUnderTest::Options WithTls(const TlsFiles& files) {
  GatewayUnderTest::Options options;
  options.config.tls_enabled = true;
  options.config.tls_cert_path = files.cert_path();
  options.config.tls_key_path = files.key_path();
  options.grpc_tls.enabled = true;
  options.grpc_tls.cert_path = files.cert_path();
  options.grpc_tls.key_path = files.key_path();
  return options;
}

testing::CommandOutcome Curl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"curl", "-sS", "--max-time", "60"});
  auto outcome = testing::RunCommand({.argv = std::move(arguments)});
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  return outcome.ok() ? *outcome : testing::CommandOutcome{-1, ""};
}

// Sends one Hello and returns the number that came back, or the failure's text.
std::string RoundTrip(const std::shared_ptr<grpc::Channel>& channel, int32_t version) {
  const auto stub = ingest::IngestService::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + absl::Seconds(60)));
  const auto stream = stub->StreamBatches(&context);
  ingest::StreamBatchesRequest request;
  request.mutable_hello()->set_config_version(version);
  ingest::StreamBatchesResponse response;
  if (stream->Write(request) && stream->Read(&response)) {
    stream->WritesDone();
    const grpc::Status status = stream->Finish();
    return status.ok() ? std::to_string(response.ack().last_seq()) : status.error_message();
  }
  context.TryCancel();
  return stream->Finish().error_message();
}

std::shared_ptr<grpc::Channel> PlainChannel(int port) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);  // a connection of its own
  arguments.SetInt("grpc.enable_http_proxy", 0);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments);
}

std::shared_ptr<grpc::Channel> TlsChannel(int port, const std::string& ca_pem) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.enable_http_proxy", 0);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ca_pem;
  return grpc::CreateCustomChannel("localhost:" + std::to_string(port), grpc::SslCredentials(options), arguments);
}

TEST(OnePort, PlaintextGrpcIsHandedOver) {
  GatewayUnderTest gateway;
  EXPECT_EQ(RoundTrip(PlainChannel(gateway.port()), 41), "41");
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 200);
  EXPECT_THAT(gateway.metrics.Render(), HasSubstr("pganalytics_connections_total{kind=\"grpc\"} 1"));
}

TEST(OnePort, PlaintextGrpcIsSpliced) {
  GatewayUnderTest::Options options;
  options.splice = true;
  GatewayUnderTest gateway(options);
  const auto channel = PlainChannel(gateway.port());
  EXPECT_EQ(RoundTrip(channel, 42), "42");
  EXPECT_EQ(RoundTrip(channel, 43), "43");
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 200);
  // An open pass-through does not hold up the drain.
  const clock::SteadyTime start = clock::SteadyNow();
  gateway.gateway->Drain(clock::SteadyNow() + absl::Seconds(60));
  EXPECT_LT(clock::SteadyNow() - start, absl::Seconds(40));
}

TEST(OnePort, ConnectionsThatArePassedOnAreLimited) {
  for (const bool splice : {true, false}) {
    SCOPED_TRACE(splice ? "spliced" : "handed over");
    GatewayUnderTest::Options options;
    options.splice = splice;
    options.config.max_connections = 1;
    GatewayUnderTest gateway(options);
    auto first = PlainChannel(gateway.port());
    EXPECT_EQ(RoundTrip(first, 42), "42");
    EXPECT_NE(RoundTrip(PlainChannel(gateway.port()), 43), "43");
    EXPECT_EQ(RoundTrip(first, 44), "44");
    first.reset();
    EXPECT_TRUE(
        testing::WaitUntil([&] { return RoundTrip(PlainChannel(gateway.port()), 45) == "45"; }, absl::Seconds(30)));
  }
}

TEST(OnePort, TlsGrpcEndsInTheServiceAndHttpsHere) {
  const TlsFiles files;
  GatewayUnderTest gateway(WithTls(files));
  EXPECT_EQ(RoundTrip(TlsChannel(gateway.port(), files.ca.pem()), 44), "44");
  const std::string url = "https://localhost:" + std::to_string(gateway.port()) + "/api/v1/health";
  for (const char* version : {"--tlsv1.2", "--tlsv1.3"}) {
    const auto outcome = Curl({version, "--cacert", files.ca_path(), "-w", "\\n%{http_version} %{http_code}", url});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, AllOf(HasSubstr("\"status\":\"healthy\""), HasSubstr("1.1 200")));
  }
  EXPECT_NE(Curl({"--tls-max", "1.1", "--cacert", files.ca_path(), url}).exit_code, 0);
  EXPECT_EQ(Curl({"--no-alpn", "--cacert", files.ca_path(), url}).exit_code, 0);
  // Twice over one connection, and with a large body.
  const auto twice =
      Curl({"--cacert", files.ca_path(), "-w", "%{num_connects} ", "-o", "/dev/null", url, "-o", "/dev/null", url});
  EXPECT_EQ(twice.output, "1 0 ");
}

TEST(OnePort, TlsGrpcIsSpliced) {
  const TlsFiles files;
  GatewayUnderTest::Options options = WithTls(files);
  options.splice = true;
  GatewayUnderTest gateway(options);
  EXPECT_EQ(RoundTrip(TlsChannel(gateway.port(), files.ca.pem()), 45), "45");
}

TEST(OnePort, PlaintextOnATlsPortIsToldSo) {
  const TlsFiles files;
  GatewayUnderTest gateway(WithTls(files));
  const HttpReply reply = Fetch(gateway.port(), "GET", "/api/v1/health");
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(reply.body, HasSubstr("This port speaks HTTPS"));
  // No plaintext way around TLS for collectors either.
  RawClient grpc(gateway.port());
  grpc.Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  EXPECT_TRUE(grpc.Closed());
}

TEST(OnePort, GarbageIsClosed) {
  GatewayUnderTest gateway;
  RawClient broken(gateway.port());
  broken.Send(std::string("\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", 10));
  EXPECT_TRUE(broken.Closed());
  // TLS to a plain port.
  const auto outcome = Curl({"-k", "https://localhost:" + std::to_string(gateway.port()) + "/"});
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 200);
}

// A client that sends all of its body first still hears the refusal, and the end of TLS after it.
TEST(Tls, ClosingUnderUnreadBytesCutsNoAnswer) {
  const TlsFiles files;
  GatewayUnderTest::Options options = WithTls(files);
  options.config.max_body_bytes = 4 << 20;
  GatewayUnderTest gateway(options);
  const std::string authorization = "Authorization: Bearer " + gateway.UserToken("user");
  // Refused by the announced length, and after some of it came.
  for (const bool chunked : {false, true}) {
    const std::string length = chunked ? "Transfer-Encoding: chunked" : "Content-Length: 4194305";
    SCOPED_TRACE(length);
    rpc::TlsClient client(gateway.port(), files.ca.pem(), "http/1.1");
    ASSERT_TRUE(client.connected());
    client.Send("POST /api/v1/metrics/push HTTP/1.1\r\nHost: localhost\r\n" + authorization + "\r\n" + length +
                "\r\n\r\n");
    if (chunked) client.Send("400001\r\n");
    const std::string body((4 << 20) + 1, 'x');
    EXPECT_EQ(client.Send(body), body.size());
    const rpc::TlsClient::Received received = client.ReadAll();
    EXPECT_TRUE(received.whole) << "cut instead of ended";
    EXPECT_THAT(received.bytes, ::testing::StartsWith("HTTP/1.1 413"));
    EXPECT_THAT(received.bytes, ::testing::EndsWith("}"));
  }
}

TEST(Tls, ANewCertificateIsPickedUpAndABrokenOneIsNot) {
  TlsFiles files;
  GatewayUnderTest gateway(WithTls(files));
  const auto probe = [&](const std::string& ca_path) {
    return Curl({"--cacert", ca_path, "https://localhost:" + std::to_string(gateway.port()) + "/api/v1/health"})
        .exit_code;
  };
  EXPECT_EQ(probe(files.ca_path()), 0);

  const rpc::TestCa other("other CA");
  const std::string other_path = files.dir / "other.pem";
  ASSERT_TRUE(testing::WriteFile(other_path, other.pem()).ok());
  files.Write(other.Server());
  // Not looked at yet.
  EXPECT_EQ(probe(files.ca_path()), 0);
  gateway.clock.Advance(absl::Seconds(6));
  EXPECT_EQ(probe(other_path), 0);
  EXPECT_NE(probe(files.ca_path()), 0);

  ASSERT_TRUE(testing::WriteFile(files.cert_path(), "nothing").ok());
  gateway.clock.Advance(absl::Seconds(6));
  EXPECT_EQ(probe(other_path), 0);
}

absl::Status CreateStatus(GatewayConfig config) {
  static metrics::Registry registry(false);
  static token::Verifier verifier;
  static token::RevocationSet revocations;
  config.port = config.port == 8080 ? 0 : config.port;
  GatewayService::Deps deps;
  deps.metrics = &registry;
  deps.verifier = &verifier;
  deps.revocations = &revocations;
  deps.channels = {{"", PlainChannel(1)}};
  auto created = GatewayService::Create(config, std::move(deps));
  if (!created.ok()) return created.status();
  return (*created)->Start();
}

struct StartCase {
  std::string name;
  std::function<void(const TlsFiles&, GatewayConfig&)> spoil;
  std::string want;
};

class StartErrors : public ::testing::TestWithParam<StartCase> {};

TEST_P(StartErrors, NameTheSettingAndTheCause) {
  const TlsFiles files;
  GatewayConfig config = WithTls(files).config;
  ASSERT_TRUE(CreateStatus(config).ok()) << CreateStatus(config);
  GetParam().spoil(files, config);
  const absl::Status status = CreateStatus(config);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().want));
}

INSTANTIATE_TEST_SUITE_P(
    Settings, StartErrors,
    ::testing::Values(
        StartCase{"NoCertificate", [](const TlsFiles&, GatewayConfig& c) { c.tls_cert_path.clear(); },
                  "set TLS_CERT_PATH"},
        StartCase{"NoKey", [](const TlsFiles&, GatewayConfig& c) { c.tls_key_path.clear(); }, "set TLS_KEY_PATH"},
        StartCase{"MissingCertificate", [](const TlsFiles&, GatewayConfig& c) { c.tls_cert_path = "/nonexistent"; },
                  "TLS_CERT_PATH: cannot read /nonexistent: No such file"},
        StartCase{"MissingKey", [](const TlsFiles&, GatewayConfig& c) { c.tls_key_path = "/nonexistent"; },
                  "TLS_KEY_PATH: cannot read /nonexistent"},
        StartCase{"CertificateIsKey", [](const TlsFiles&, GatewayConfig& c) { c.tls_cert_path = c.tls_key_path; },
                  "holds no PEM certificate"},
        StartCase{"KeyIsCertificate", [](const TlsFiles&, GatewayConfig& c) { c.tls_key_path = c.tls_cert_path; },
                  "holds no PEM private key"},
        StartCase{"KeyOfAnother",
                  [](const TlsFiles& files, GatewayConfig& c) {
                    c.tls_key_path = files.dir / "other-key.pem";
                    EXPECT_TRUE(testing::WriteFile(c.tls_key_path, files.ca.Server().key_pem).ok());
                  },
                  "does not belong to the certificate"},
        StartCase{"BadAddress", [](const TlsFiles&, GatewayConfig& c) { c.listen_address = "localhost"; },
                  "LISTEN_ADDRESS: \"localhost\" is not an IP address"},
        StartCase{"BadOrigin", [](const TlsFiles&, GatewayConfig& c) { c.cors_allowed_origins = {"https://a/"}; },
                  "CORS_ALLOWED_ORIGINS"},
        StartCase{"WildcardOrigin", [](const TlsFiles&, GatewayConfig& c) { c.cors_allowed_origins = {"*"}; },
                  "CORS_ALLOWED_ORIGINS"},
        StartCase{"BadProxy", [](const TlsFiles&, GatewayConfig& c) { c.trusted_proxies = {"proxy"}; },
                  "TRUSTED_PROXIES"},
        StartCase{"BadLoadBalancer", [](const TlsFiles&, GatewayConfig& c) { c.proxy_protocol_from = {"balancer"}; },
                  "PROXY_PROTOCOL_FROM"},
        StartCase{"NoDescriptorSet", [](const TlsFiles&, GatewayConfig& c) { c.descriptor_set_file = "/nonexistent"; },
                  "DESCRIPTOR_SET_FILE"}),
    [](const auto& test) { return test.param.name; });

TEST(Start, APortInUseIsSaidClearly) {
  GatewayUnderTest gateway;
  GatewayConfig config;
  config.port = gateway.port();
  EXPECT_THAT(CreateStatus(config),
              status::StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("another program uses this port; stop it or set PORT to a free one")));
}

TEST(Start, EveryServiceNeedsAChannel) {
  metrics::Registry registry(false);
  token::Verifier verifier;
  token::RevocationSet revocations;
  GatewayService::Deps deps;
  deps.metrics = &registry;
  deps.verifier = &verifier;
  deps.revocations = &revocations;
  deps.channels = {{"pganalytics.auth.", PlainChannel(1)}};
  EXPECT_THAT(GatewayService::Create(GatewayConfig(), std::move(deps)).status(),
              status::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no service address is configured")));
}

// ---- A method that no code knows ----

// Answers GetBook of the descriptor set by reflection alone.
class LibraryService final : public grpc::CallbackGenericService {
 public:
  explicit LibraryService(const std::string& descriptor_set) {
    google::protobuf::FileDescriptorSet files;
    EXPECT_TRUE(files.ParseFromString(descriptor_set));
    for (const auto& file : files.file()) pool_.BuildFile(file);
  }
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Reactor(this, context->method());
  }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor(LibraryService* service, std::string method) : service_(service), method_(std::move(method)) {
      StartRead(&buffer_);
    }
    void OnReadDone(bool ok) override {
      if (!ok || method_ != "/pganalytics.librarytest.v1.Library/GetBook") {
        Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""));
        return;
      }
      std::vector<grpc::Slice> slices;
      EXPECT_TRUE(buffer_.Dump(&slices).ok());
      std::string bytes;
      for (const auto& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      const auto new_message = [&](const char* name) {
        const auto* type = service_->pool_.FindMessageTypeByName(std::string("pganalytics.librarytest.v1.") + name);
        return std::unique_ptr<google::protobuf::Message>(service_->factory_.GetPrototype(type)->New());
      };
      const auto request = new_message("BookRequest");
      EXPECT_TRUE(request->ParseFromString(bytes));
      const auto book = new_message("Book");
      const auto field = [](const google::protobuf::Message& message, const char* name) {
        return message.GetDescriptor()->FindFieldByName(name);
      };
      book->GetReflection()->SetString(book.get(), field(*book, "title"),
                                       request->GetReflection()->GetString(*request, field(*request, "shelf")));
      const grpc::Slice slice(book->SerializeAsString());
      buffer_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&buffer_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    LibraryService* const service_;
    const std::string method_;
    grpc::ByteBuffer buffer_;
  };

  google::protobuf::DescriptorPool pool_;
  google::protobuf::DynamicMessageFactory factory_;
};

TEST(NewMethod, KnownFromADescriptorSetAloneIsReachable) {
  const auto descriptor_set = testing::ReadFile(PGA_LIBRARY_DESCRIPTORS);
  ASSERT_TRUE(descriptor_set.ok());
  LibraryService service(*descriptor_set);
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);

  metrics::Registry registry(false);
  token::Verifier verifier;
  token::RevocationSet revocations;
  GatewayConfig config;
  config.port = 0;
  config.descriptor_set_file = PGA_LIBRARY_DESCRIPTORS;
  GatewayService::Deps deps;
  deps.metrics = &registry;
  deps.verifier = &verifier;
  deps.revocations = &revocations;
  deps.channels = {{"pganalytics.librarytest.", server->InProcessChannel({})}};
  auto gateway = GatewayService::Create(config, std::move(deps));
  ASSERT_TRUE(gateway.ok()) << gateway.status();
  ASSERT_TRUE((*gateway)->Start().ok());
  const HttpReply reply = Fetch((*gateway)->port(), "GET", "/v1/shelves/poems/books/7");
  EXPECT_EQ(reply.code, 200) << reply.body;
  EXPECT_THAT(reply.body, HasSubstr("\"title\":\"poems\""));
  (*gateway)->Drain(clock::SteadyNow());
  server->Shutdown();
}

// The change that docs/adding-an-rpc.md shows, applied to the protos, makes the route: nothing else is needed.
TEST(NewMethod, TheDocumentedChangeAddsARoute) {
  const std::string root = std::getenv("PGA_SOURCE_DIR") != nullptr ? std::getenv("PGA_SOURCE_DIR") : PGA_ROOT;
  const auto text = testing::ReadFile(root + "/docs/adding-an-rpc.md");
  ASSERT_TRUE(text.ok()) << text.status();
  const size_t begin = text->find("```diff\n") + 8;
  const size_t end = text->find("\n```", begin) + 1;
  const testing::ScopedTempDir dir;
  ASSERT_TRUE(testing::WriteFile(dir / "change.diff", text->substr(begin, end - begin)).ok());
  const std::string script =
      "cd " + dir.path() + " && cp -r " + root + "/protos . && mkdir -p services && cp -r " + root +
      "/services/query services/ && git apply -C1 change.diff && " PGA_PROTOC " -Iprotos -I" PGA_GOOGLEAPIS
      " --include_imports --descriptor_set_out=changed.pb "
      "$(find protos/pganalytics -name '*.proto')";
  const auto outcome = testing::RunCommand({.argv = {"sh", "-c", script}});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->exit_code, 0) << outcome->output;
  const auto changed = testing::ReadFile(dir / "changed.pb");
  ASSERT_TRUE(changed.ok());
  const auto api = ApiSurface::Create(*changed);
  ASSERT_TRUE(api.ok()) << api.status();
  const auto match = (*api)->Find("GET", "/api/v1/sources/primary-1");
  ASSERT_NE(match.route, nullptr);
  EXPECT_EQ(match.route->method->full_name, "pganalytics.query.v1.QueryService.FindSource");
  EXPECT_EQ(match.bindings.at(0).value, "primary-1");
}

}  // namespace
}  // namespace pga::gateway
