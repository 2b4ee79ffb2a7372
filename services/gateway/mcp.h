#pragma once

// The Model Context Protocol at /mcp (streamable HTTP, JSON answers, no sessions): every reading method of the REST API
// that viewers may call is a tool, described by its proto. What a message asks for is decided here; the calls are made
// by the session, with the caller's own token. Immutable and thread-safe; no sockets, no gRPC.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/struct.pb.h"
#include "services/gateway/api_surface.h"

namespace pga::gateway {

inline constexpr std::string_view kMcpPath = "/mcp";

class Mcp {
 public:
  // Bytes of JSON that a tool answers at most; more is an error that says how to ask for less.
  static constexpr size_t kMaxResultBytes = 100 * 1024;

  // A call of one method, as if by REST.
  struct Ask {
    const ApiRoute* route = nullptr;
    std::vector<PathMatcher::Binding> bindings;
    std::string query;
  };
  // tools/call, to be made by the session: the method itself, then what says how complete its answer is.
  struct Call {
    // Of the message, as JSON.
    std::string id;
    Ask ask;
    Ask freshness;
    // Only what is said of this metric counts; empty = of any.
    std::string metric;
  };
  struct Reply {
    // 202 has no body.
    int code = 200;
    std::string body;
  };

  // `descriptor_set` with source information; `api` was made of it and outlives the object. A set that OpenAPI cannot
  // describe gives no tools, which is logged.
  static absl::StatusOr<std::unique_ptr<Mcp>> Create(const std::string& descriptor_set, const ApiSurface* api);

  // Whether a client may speak this revision of the protocol (header MCP-Protocol-Version).
  static bool Speaks(std::string_view version);

  // One message of JSON-RPC: what to answer at once, or what to call for it.
  std::variant<Reply, Call> Read(const std::string& body) const;

  // The answer to a call. `answer` and `freshness` are JSON as REST gives it; an empty `freshness` says that it could
  // not be had.
  Reply Result(const Call& call, const std::string& answer, const std::string& freshness) const;
  // A tool that could not answer: the model reads why.
  static Reply Failure(const Call& call, const std::string& message);

  size_t tools() const { return tools_.size(); }

 private:
  struct Tool {
    std::string name;
    const ApiRoute* route = nullptr;
    std::vector<std::string> path_parameters;
    std::vector<std::string> query_parameters;
  };
  explicit Mcp(const ApiSurface* api) : api_(api) {}
  absl::Status AddTool(const std::string& path, const google::protobuf::Struct& operation,
                       const google::protobuf::Struct& schemas, std::string& list);
  std::variant<Reply, Call> CallTool(const std::string& id, const google::protobuf::Struct& params) const;
  Ask FreshnessOf(const Tool& tool, const google::protobuf::Struct& arguments) const;

  const ApiSurface* const api_;
  std::vector<Tool> tools_;
  // Result of tools/list.
  std::string list_;
};

}  // namespace pga::gateway
