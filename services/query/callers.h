// What the services of query share of a call: its limit, and the sources that its caller may see.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/pg/call_limit.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/context.h"
#include "libs/storage/read/source_reader.h"

namespace pga::query {

// A read ends when its caller has gone. The call must outlive the limit.
pg::CallLimit Limit(const rpc::CallContext& call);

// Groups of sources that the caller may see.
absl::StatusOr<std::vector<std::string>> GroupsOf(const rpc::CallContext& call, const rpc::Authenticator& authenticator,
                                                  storage::SourceReader* sources);

// Sources asked for that the caller may see; all visible ones when none is named. Every read takes its sources here.
absl::StatusOr<std::vector<storage::SourceRef>> SourcesOf(const rpc::CallContext& call,
                                                          const rpc::Authenticator& authenticator,
                                                          storage::SourceReader* sources,
                                                          const std::vector<std::string>& wanted);

}  // namespace pga::query
