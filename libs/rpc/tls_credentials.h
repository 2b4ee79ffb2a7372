// TlsOptions as gRPC credentials. Internal to libs/rpc; check the options with ValidateServerTls/ValidateClientTls
// first.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "libs/rpc/tls.h"

namespace pga::rpc {

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsOptions& tls);
std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsOptions& tls);

}  // namespace pga::rpc
