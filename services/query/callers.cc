#include "services/query/callers.h"

#include "libs/status/status.h"
#include "services/query/request_rules.h"

namespace pga::query {

pg::CallLimit Limit(const rpc::CallContext& call) {
  return {call.deadline, [&call] { return call.cancelled(); }, call.principal.subject};
}

absl::StatusOr<std::vector<std::string>> GroupsOf(const rpc::CallContext& call, const rpc::Authenticator& authenticator,
                                                  storage::SourceReader* sources) {
  PGA_ASSIGN_OR_RETURN(const token::Access access, authenticator.AccessOf(call.method));
  PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, sources->Groups(call.deadline));
  return VisibleGroups(call.principal, access, groups);
}

absl::StatusOr<std::vector<storage::SourceRef>> SourcesOf(const rpc::CallContext& call,
                                                          const rpc::Authenticator& authenticator,
                                                          storage::SourceReader* sources,
                                                          const std::vector<std::string>& wanted) {
  if (wanted.size() > 1000) {
    return absl::InvalidArgumentError("more than 1000 sources are named; leave source out to read all of them");
  }
  PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, GroupsOf(call, authenticator, sources));
  return sources->Resolve(groups, wanted, call.deadline);
}

}  // namespace pga::query
