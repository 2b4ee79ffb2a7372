#include "libs/rpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpc/reflection/v1/reflection_service.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection_service.grpc.pb.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

namespace pb = google::protobuf;
namespace v1 = grpc::reflection::v1;
namespace v1alpha = grpc::reflection::v1alpha;
using Files = std::set<const pb::FileDescriptor*>;

// The two names of the service; their messages differ in their packages alone.
struct Current {
  using Service = v1::ServerReflection;
  using Request = v1::ServerReflectionRequest;
  using Response = v1::ServerReflectionResponse;
};
struct Former {
  using Service = v1alpha::ServerReflection;
  using Request = v1alpha::ServerReflectionRequest;
  using Response = v1alpha::ServerReflectionResponse;
};

template <typename Api>
std::string Method() {
  return absl::StrCat("/", Api::Service::service_full_name(), "/ServerReflectionInfo");
}

void Collect(const pb::FileDescriptor* file, Files* files) {
  if (!files->insert(file).second) return;
  for (int i = 0; i < file->dependency_count(); ++i) Collect(file->dependency(i), files);
}

// What is described; does not change.
struct Described {
  std::vector<std::string> services;
  Files files;

  // Null for what belongs to no file of ours.
  const pb::FileDescriptor* Known(const pb::FileDescriptor* file) const {
    return files.contains(file) ? file : nullptr;
  }
};

absl::Status NotFound(const char* what, const std::string& name) {
  return absl::NotFoundError(absl::StrCat("this port offers no ", what, " ", name));
}

template <typename Answer>
void Add(const pb::FileDescriptor* file, Files* sent, Answer* answer) {
  if (!sent->insert(file).second) return;
  pb::FileDescriptorProto proto;
  file->CopyTo(&proto);
  proto.SerializeToString(answer->add_file_descriptor_proto());
  for (int i = 0; i < file->dependency_count(); ++i) Add(file->dependency(i), sent, answer);
}

// `sent` are the files that the caller has.
template <typename Request, typename Response>
absl::Status Answer(const Described& described, const Request& request, Files* sent, Response* response) {
  const pb::DescriptorPool& pool = *pb::DescriptorPool::generated_pool();
  const pb::FileDescriptor* file = nullptr;
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const std::string& name : described.services) {
        response->mutable_list_services_response()->add_service()->set_name(name);
      }
      return absl::OkStatus();
    case Request::kFileByFilename:
      file = described.Known(pool.FindFileByName(request.file_by_filename()));
      if (file == nullptr) return NotFound("file", request.file_by_filename());
      break;
    case Request::kFileContainingSymbol:
      file = described.Known(pool.FindFileContainingSymbol(request.file_containing_symbol()));
      if (file == nullptr) return NotFound("symbol", request.file_containing_symbol());
      break;
    case Request::kFileContainingExtension: {
      const auto& asked = request.file_containing_extension();
      const pb::Descriptor* const type = pool.FindMessageTypeByName(asked.containing_type());
      const pb::FieldDescriptor* const field =
          type == nullptr ? nullptr : pool.FindExtensionByNumber(type, asked.extension_number());
      file = field == nullptr ? nullptr : described.Known(field->file());
      if (file == nullptr) {
        return NotFound("extension", absl::StrCat(asked.extension_number(), " of ", asked.containing_type()));
      }
      break;
    }
    case Request::kAllExtensionNumbersOfType: {
      const std::string& name = request.all_extension_numbers_of_type();
      const pb::Descriptor* const type = pool.FindMessageTypeByName(name);
      if (type == nullptr || described.Known(type->file()) == nullptr) return NotFound("message", name);
      auto* const answer = response->mutable_all_extension_numbers_response();
      answer->set_base_type_name(name);
      std::vector<const pb::FieldDescriptor*> extensions;
      pool.FindAllExtensions(type, &extensions);
      for (const pb::FieldDescriptor* const extension : extensions) {
        if (described.Known(extension->file()) != nullptr) answer->add_extension_number(extension->number());
      }
      return absl::OkStatus();
    }
    case Request::MESSAGE_REQUEST_NOT_SET:
      return absl::InvalidArgumentError(
          "the question says nothing; ask for list_services, a file, a symbol or an extension");
  }
  Add(file, sent, response->mutable_file_descriptor_response());
  return absl::OkStatus();
}

// What both names of the service share.
struct Shared {
  Dispatcher* dispatcher = nullptr;
  Described described;
  absl::Mutex mutex;
  // Of the open streams.
  std::set<grpc::CallbackServerContext*> contexts ABSL_GUARDED_BY(mutex);
  bool draining ABSL_GUARDED_BY(mutex) = false;

  absl::Status Add(grpc::CallbackServerContext* context) {
    absl::MutexLock lock(&mutex);
    if (draining) return status::WithReason(absl::UnavailableError("the service is stopping"), "DRAINING");
    if (contexts.size() >= Reflection::kMostStreams) {
      return status::WithRetryAfter(absl::ResourceExhaustedError("too many tools ask for descriptions at once"),
                                    absl::Seconds(5));
    }
    contexts.insert(context);
    return absl::OkStatus();
  }
  void Remove(grpc::CallbackServerContext* context) {
    absl::MutexLock lock(&mutex);
    contexts.erase(context);
  }
};

// One operation is under way at a time: a question is read when the former one is answered.
template <typename Api>
class Stream final : public grpc::ServerBidiReactor<typename Api::Request, typename Api::Response> {
 public:
  Stream(Shared* shared, grpc::CallbackServerContext* context, CallContext call)
      : shared_(shared), context_(context), call_(std::move(call)) {
    limit_.Arm(context, std::min(call_.deadline, clock::SteadyNow() + shared_->dispatcher->options().request_timeout));
    this->StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());
    if (request_.ByteSizeLong() > Reflection::kLongestQuestion) {
      return End(
          absl::InvalidArgumentError(absl::StrCat("a question has at most ", Reflection::kLongestQuestion, " bytes")));
    }
    if (++questions_ > Reflection::kMostQuestions) {
      return End(absl::ResourceExhaustedError(
          absl::StrCat("a stream takes ", Reflection::kMostQuestions, " questions; begin another one")));
    }
    response_.Clear();
    response_.set_valid_host(request_.host());
    *response_.mutable_original_request() = request_;
    if (const absl::Status status = Answer(shared_->described, request_, &sent_, &response_); !status.ok()) {
      auto* const error = response_.mutable_error_response();
      error->set_error_code(static_cast<int>(status.code()));
      error->set_error_message(std::string(status.message()));
    }
    this->StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the caller has gone"));
    this->StartRead(&request_);
  }
  void OnDone() override {
    limit_.Disarm();
    shared_->Remove(context_);
    delete this;
  }

 private:
  void End(const absl::Status& status) {
    shared_->dispatcher->CountStream(call_, status.code(), clock::SteadyNow() - started_);
    this->Finish(ToGrpc(status, call_.request_id));
  }

  Shared* const shared_;
  grpc::CallbackServerContext* const context_;
  const CallContext call_;
  const clock::SteadyTime started_ = clock::SteadyNow();
  CallTimer limit_;
  typename Api::Request request_;
  typename Api::Response response_;
  Files sent_;
  int questions_ = 0;
};

template <typename Api>
class Refused final : public grpc::ServerBidiReactor<typename Api::Request, typename Api::Response> {
 public:
  Refused(const absl::Status& status, std::string_view request_id) { this->Finish(ToGrpc(status, request_id)); }
  void OnDone() override { delete this; }
};

template <typename Api>
class Service final : public Api::Service::CallbackService {
 public:
  explicit Service(Shared* shared) : shared_(shared) {}
  grpc::ServerBidiReactor<typename Api::Request, typename Api::Response>* ServerReflectionInfo(
      grpc::CallbackServerContext* context) override {
    auto call = shared_->dispatcher->BeginStream(context, Method<Api>());
    if (!call.ok()) return new Refused<Api>(call.status(), "");
    if (const absl::Status added = shared_->Add(context); !added.ok()) return new Refused<Api>(added, call->request_id);
    return new Stream<Api>(shared_, context, *std::move(call));
  }

 private:
  Shared* const shared_;
};

}  // namespace

struct Reflection::Parts {
  explicit Parts(Dispatcher* dispatcher) { shared.dispatcher = dispatcher; }
  Shared shared;
  Service<Current> current{&shared};
  Service<Former> former{&shared};
};

Reflection::Reflection(Authenticator* authenticator, Dispatcher* dispatcher, const std::vector<std::string>& services)
    : parts_(std::make_unique<Parts>(dispatcher)) {
  token::Access administrators;
  administrators.user = token::Role::kAdmin;
  for (const std::string& method : {Method<Current>(), Method<Former>()})
    authenticator->SetAccess(method, administrators);
  Described& described = parts_->shared.described;
  described.services = services;
  described.services.emplace_back(v1::ServerReflection::service_full_name());
  described.services.emplace_back(v1alpha::ServerReflection::service_full_name());
  for (const std::string& name : described.services) {
    const pb::FileDescriptor* const file = pb::DescriptorPool::generated_pool()->FindFileContainingSymbol(name);
    if (file != nullptr) {
      Collect(file, &described.files);
    } else {
      PGA_LOG(error, "a service has no descriptor in this program", {{"service", name}});
    }
  }
}

Reflection::~Reflection() = default;

std::vector<grpc::Service*> Reflection::services() {
  return {&parts_->current, &parts_->former};
}

void Reflection::BeginDrain() {
  Shared& shared = parts_->shared;
  absl::MutexLock lock(&shared.mutex);
  shared.draining = true;
  for (grpc::CallbackServerContext* const context : shared.contexts) context->TryCancel();
}

}  // namespace pga::rpc
