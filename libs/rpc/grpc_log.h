// gRPC's own messages as lines of our log. Internal to libs/rpc.
#pragma once

namespace pga::rpc {

// Routes them from now on; further calls do nothing. gRPC's errors become warnings (most are the other side's doing,
// such as a failed handshake), at most 5 a second, the rest is counted and reported with the next one.
void RouteGrpcLog();

}  // namespace pga::rpc
