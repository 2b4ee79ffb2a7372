#include "libs/openapi/descriptor_files.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace pga::openapi {
namespace {

class Complaints final : public google::protobuf::DescriptorPool::ErrorCollector {
 public:
  void AddError(const std::string& file, const std::string& element, const google::protobuf::Message*, ErrorLocation,
                const std::string& message) override {
    if (text_.empty()) text_ = absl::StrCat(file, ": ", element, ": ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

absl::StatusOr<std::vector<const google::protobuf::FileDescriptor*>> BuildFiles(
    const google::protobuf::FileDescriptorSet& files, google::protobuf::DescriptorPool* pool) {
  std::vector<const google::protobuf::FileDescriptor*> built;
  for (const auto& file : files.file()) {
    Complaints complaints;
    const google::protobuf::FileDescriptor* const descriptor = pool->BuildFileCollectingErrors(file, &complaints);
    if (descriptor == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("the descriptor set is not complete (make it with --include_imports): ", complaints.text()));
    }
    built.push_back(descriptor);
  }
  return built;
}

}  // namespace pga::openapi
