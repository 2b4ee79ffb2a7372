// Edge of pganalytics.compactor.v1.CompactorService: permission, the caller's groups, figures of upkeep as protobuf.
#pragma once

#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"
#include "libs/storage/upkeep/upkeep.h"
#include "pganalytics/compactor/v1/compactor_service.grpc.pb.h"

namespace pga::compactor {

class CompactorService final : public ::pganalytics::compactor::v1::CompactorService::CallbackService {
 public:
  // All must outlive the service.
  CompactorService(rpc::Dispatcher* dispatcher, const rpc::Authenticator* authenticator, storage::Upkeep* upkeep);

  grpc::ServerUnaryReactor* GetStorage(grpc::CallbackServerContext* context,
                                       const ::pganalytics::compactor::v1::GetStorageRequest* request,
                                       ::pganalytics::compactor::v1::GetStorageResponse* response) override;

 private:
  absl::Status Answer(const rpc::CallContext& call, const ::pganalytics::compactor::v1::GetStorageRequest& request,
                      ::pganalytics::compactor::v1::GetStorageResponse* response);

  rpc::Dispatcher* const dispatcher_;
  const rpc::Authenticator* const authenticator_;
  storage::Upkeep* const upkeep_;
};

}  // namespace pga::compactor
