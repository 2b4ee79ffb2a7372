// Where a question runs: with those about many sources, or with the others.
#pragma once

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "libs/rpc/unary.h"
#include "libs/storage/read/source_reader.h"
#include "services/query/read_errors.h"

namespace pga::query {

// Nothing is owned.
struct Dispatchers {
  rpc::Dispatcher* narrow = nullptr;
  // For questions that name no source, or more than kMostNarrowSources.
  rpc::Dispatcher* wide = nullptr;

  template <typename Request>
  rpc::Dispatcher* For(const Request& request) const {
    if constexpr (requires { request.source_size(); }) {
      const auto named = static_cast<size_t>(request.source_size());
      if (named == 0 || named > storage::kMostNarrowSources) return wide;
    }
    return narrow;
  }

  // Runs a handler there, and answers its failures as ForCaller says.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Run(
      grpc::CallbackServerContext* context, const Request* request, Response* response,
      std::function<absl::Status(rpc::CallContext&, const Request&, Response&)> handler) const {
    return For(*request)->template Unary<Request, Response>(
        context, request, response,
        [handler = std::move(handler)](rpc::CallContext& call, const Request& asked, Response& answer) {
          return ForCaller(handler(call, asked, answer));
        });
  }
};

}  // namespace pga::query
