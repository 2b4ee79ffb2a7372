// TlsOptions as gRPC credentials. Internal to libs/rpc; check the options with ValidateClientTls first.
#pragma once

#include <grpcpp/security/credentials.h>

#include <memory>

#include "libs/rpc/tls.h"

namespace pga::rpc {

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsOptions& tls);

}  // namespace pga::rpc
