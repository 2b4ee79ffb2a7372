// Server reflection through a real door: what is described, to whom, and how much of it.
#include "libs/rpc/reflection.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>

#include <memory>
#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection_service.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection_service.grpc.pb.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/node_testing.h"
#include "libs/rpc/status.h"
#include "libs/testing/wait_until.h"
#include "pganalytics/common/v1/common.pb.h"

namespace pga::rpc {
namespace {

namespace v1 = grpc::reflection::v1;
namespace v1alpha = grpc::reflection::v1alpha;
using status::IsOk;
using status::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using token::Principal;

constexpr char kOffered[] = "pganalytics.query.v1.SystemService";

// One stream of questions.
template <typename Api, typename Request, typename Answer>
class Asker {
 public:
  Asker(const std::shared_ptr<grpc::Channel>& channel, const std::string& bearer) : stub_(Api::NewStub(channel)) {
    context_.set_deadline(GrpcDeadline(clock::SteadyNow() + kLimit));
    if (!bearer.empty()) context_.AddMetadata("authorization", "Bearer " + bearer);
    stream_ = stub_->ServerReflectionInfo(&context_);
  }
  // Whether an answer came.
  bool Ask(const Request& asked) {
    answer.Clear();
    return stream_->Write(asked) && stream_->Read(&answer);
  }
  bool AskForSymbol(const std::string& name) {
    Request asked;
    asked.set_file_containing_symbol(name);
    return Ask(asked);
  }
  absl::Status Finish() {
    stream_->WritesDone();
    return AwaitEnd();
  }
  // Without a word.
  absl::Status AwaitEnd() {
    while (stream_->Read(&answer)) {
    }
    return FromGrpc(stream_->Finish());
  }
  Answer answer;
  Request request;

 private:
  std::unique_ptr<typename Api::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Answer>> stream_;
};
using Current = Asker<v1::ServerReflection, v1::ServerReflectionRequest, v1::ServerReflectionResponse>;
using Former = Asker<v1alpha::ServerReflection, v1alpha::ServerReflectionRequest, v1alpha::ServerReflectionResponse>;

class ReflectionTest : public ::testing::Test {
 protected:
  void Serve(Dispatcher::Options options = {}) {
    dispatcher_ =
        std::make_unique<Dispatcher>(&world_.authenticator, &pool_, &world_.metrics, clock::Clock::Real(), options);
    system_ = std::make_unique<System>(dispatcher_.get());
    reflection_ =
        std::make_unique<Reflection>(&world_.authenticator, dispatcher_.get(), std::vector<std::string>{kOffered});
    Server::Options server;
    server.name = "reflecting";
    server.listen = {"127.0.0.1:0"};
    server.limits = DoorLimits::Outside();
    server.authenticator = &world_.authenticator;
    server.services = reflection_->services();
    server.services.push_back(system_.get());
    server.dispatcher = dispatcher_.get();
    auto started = Server::Start(std::move(server));
    ASSERT_THAT(started.status(), IsOk());
    server_ = *std::move(started);
    channel_ = *Connect("127.0.0.1:" + std::to_string(server_->ports()[0]), {});
  }
  ~ReflectionTest() override {
    channel_.reset();
    server_.reset();
    pool_.Drain(clock::SteadyNow() + absl::Seconds(5));
  }
  std::string Admin() { return world_.Token(Principal::kUser, "admin"); }

  World world_;
  exec::ThreadPool pool_{"reflecting", 2, 16};
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<System> system_;
  std::unique_ptr<Reflection> reflection_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

// What a tool makes of the files: descriptors of its own.
template <typename Answer>
void Build(const Answer& response, google::protobuf::SimpleDescriptorDatabase* files) {
  for (const std::string& bytes : response.file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto file;
    ASSERT_TRUE(file.ParseFromString(bytes));
    ASSERT_TRUE(files->Add(file));
  }
}

template <typename Tool>
void LearnsWhatIsOffered(Tool&& tool) {
  auto& request = tool.request;
  request.set_host("example");
  request.set_list_services("*");
  ASSERT_TRUE(tool.Ask(request));
  EXPECT_EQ(tool.answer.valid_host(), "example");
  EXPECT_EQ(tool.answer.original_request().list_services(), "*");
  std::vector<std::string> names;
  for (const auto& service : tool.answer.list_services_response().service()) names.push_back(service.name());
  EXPECT_THAT(names,
              ElementsAre(kOffered, "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"));

  google::protobuf::SimpleDescriptorDatabase files;
  for (const std::string& name : names) {
    ASSERT_TRUE(tool.AskForSymbol(name));
    Build(tool.answer.file_descriptor_response(), &files);
  }
  google::protobuf::DescriptorPool pool(&files);
  for (const std::string& name : names) {
    const auto* const service = pool.FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    EXPECT_GT(service->method_count(), 0) << name;
  }
  // A file is sent once.
  ASSERT_TRUE(tool.AskForSymbol(std::string(kOffered) + ".GetVersion"));
  EXPECT_EQ(tool.answer.error_response().error_code(), 0);
  EXPECT_EQ(tool.answer.file_descriptor_response().file_descriptor_proto_size(), 0);

  const int access = pganalytics::common::v1::access.number();
  request.Clear();
  request.mutable_file_containing_extension()->set_containing_type("google.protobuf.MethodOptions");
  request.mutable_file_containing_extension()->set_extension_number(access);
  ASSERT_TRUE(tool.Ask(request));
  EXPECT_TRUE(tool.answer.has_file_descriptor_response()) << tool.answer.ShortDebugString();
  request.set_all_extension_numbers_of_type("google.protobuf.MethodOptions");
  ASSERT_TRUE(tool.Ask(request));
  EXPECT_THAT(tool.answer.all_extension_numbers_response().extension_number(), Contains(access));
  request.set_file_by_filename("pganalytics/query/v1/system_service.proto");
  ASSERT_TRUE(tool.Ask(request));
  EXPECT_TRUE(tool.answer.has_file_descriptor_response());
  EXPECT_THAT(tool.Finish(), IsOk());
}

TEST_F(ReflectionTest, AToolLearnsWhatIsOffered) {
  Serve();
  LearnsWhatIsOffered(Current(channel_, Admin()));
  LearnsWhatIsOffered(Former(channel_, Admin()));
}

// The program has more linked than the port offers.
TEST_F(ReflectionTest, NothingElseIsDescribed) {
  Serve();
  Current tool(channel_, Admin());
  v1::ServerReflectionRequest file, extension, numbers;
  file.set_file_by_filename("pganalytics/auth/v1/auth_service.proto");
  extension.mutable_file_containing_extension()->set_containing_type("google.protobuf.MethodOptions");
  extension.mutable_file_containing_extension()->set_extension_number(1);
  numbers.set_all_extension_numbers_of_type("pganalytics.auth.v1.LoginRequest");
  for (const v1::ServerReflectionRequest& request : {file, extension, numbers}) {
    ASSERT_TRUE(tool.Ask(request));
    EXPECT_EQ(tool.answer.error_response().error_code(), grpc::NOT_FOUND) << request.ShortDebugString();
    EXPECT_THAT(tool.answer.error_response().error_message(), HasSubstr("this port offers no "));
  }
  for (const char* symbol : {"pganalytics.auth.v1.AuthService", "pganalytics.nothing", "", "..", "\n"}) {
    ASSERT_TRUE(tool.AskForSymbol(symbol));
    EXPECT_EQ(tool.answer.error_response().error_code(), grpc::NOT_FOUND) << symbol;
  }
  ASSERT_TRUE(tool.Ask({}));
  EXPECT_EQ(tool.answer.error_response().error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(tool.Finish(), IsOk());
}

TEST_F(ReflectionTest, AdministratorsAloneMayAsk) {
  Serve();
  struct Row {
    std::string bearer;
    absl::StatusCode code;
  };
  for (const Row& row :
       std::vector<Row>{{"", absl::StatusCode::kUnauthenticated},
                        {"nonsense", absl::StatusCode::kUnauthenticated},
                        {world_.Token(Principal::kUser, "viewer"), absl::StatusCode::kPermissionDenied},
                        {world_.Token(Principal::kUser, "user"), absl::StatusCode::kPermissionDenied},
                        {world_.Token(Principal::kCollector, "c"), absl::StatusCode::kPermissionDenied},
                        {world_.Token(Principal::kService, "gateway"), absl::StatusCode::kPermissionDenied},
                        {Admin(), absl::StatusCode::kOk}}) {
    Current current(channel_, row.bearer);
    EXPECT_EQ(current.AskForSymbol(kOffered), row.code == absl::StatusCode::kOk);
    EXPECT_EQ(current.Finish().code(), row.code);
    Former former(channel_, row.bearer);
    EXPECT_EQ(former.AskForSymbol(kOffered), row.code == absl::StatusCode::kOk);
    EXPECT_EQ(former.Finish().code(), row.code);
  }
  EXPECT_THAT(world_.metrics.Render(), HasSubstr("pga_rpc_requests_total{code=\"OK\",method=\"/grpc.reflection.v1."
                                                 "ServerReflection/ServerReflectionInfo\"} 1"));
}

TEST_F(ReflectionTest, QuestionsAndStreamsAreBounded) {
  Serve();
  Current patient(channel_, Admin());
  for (int i = 0; i < Reflection::kMostQuestions; ++i) ASSERT_TRUE(patient.AskForSymbol(kOffered)) << i;
  EXPECT_FALSE(patient.AskForSymbol(kOffered));
  EXPECT_THAT(patient.Finish(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("begin another")));

  Current wordy(channel_, Admin());
  EXPECT_FALSE(wordy.AskForSymbol(std::string(Reflection::kLongestQuestion, 'x')));
  EXPECT_THAT(wordy.Finish(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bytes")));

  std::vector<std::unique_ptr<Current>> open;
  for (int i = 0; i < Reflection::kMostStreams; ++i) {
    open.push_back(std::make_unique<Current>(channel_, Admin()));
    ASSERT_TRUE(open.back()->AskForSymbol(kOffered));
  }
  Current further(channel_, Admin());
  EXPECT_FALSE(further.AskForSymbol(kOffered));
  EXPECT_THAT(further.Finish(), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(open.back()->Finish(), IsOk());
  // Its place is free as soon as the server has done with it.
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return Current(channel_, Admin()).AskForSymbol(kOffered); }, kLimit));
}

TEST_F(ReflectionTest, AStreamLastsAsLongAsACall) {
  Serve({.request_timeout = absl::Milliseconds(300)});
  Current idle(channel_, Admin());
  ASSERT_TRUE(idle.AskForSymbol(kOffered));
  EXPECT_THAT(idle.AwaitEnd(), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(ReflectionTest, ADrainEndsOpenStreams) {
  Serve();
  Current open(channel_, Admin());
  ASSERT_TRUE(open.AskForSymbol(kOffered));
  reflection_->BeginDrain();
  EXPECT_THAT(open.AwaitEnd(), StatusIs(absl::StatusCode::kCancelled));
  Current late(channel_, Admin());
  EXPECT_FALSE(late.AskForSymbol(kOffered));
  EXPECT_THAT(late.Finish(), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace pga::rpc
