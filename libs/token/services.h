// The one table of pgAnalytics' services. Read by: pganalytics-api and the programs pga-<name> (names, order, channels,
// ports), auth (whose secrets there are), the access rules (which service may call a method, whose word on other
// callers is believed), tools/checks and tests/charts (through tools/checks/services.py: keep one row a line pair as
// below). A new service is a folder services/<name>, a row here, and a factory in services/api/composition.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::token {

struct ServiceRow {
  // Folder services/<name>, library <name>_core, program pga-<name>, and the name in the service's tokens.
  std::string_view name;
  // Beginning of the proto packages whose methods it serves; empty = it serves no gRPC.
  std::string_view package;
  // Port of GRPC_LISTEN on 127.0.0.1 where nothing else is set; 0 = it serves no gRPC.
  int port;
  // Services it calls, separated by blanks. Each stands in a row before this one, so that waiting never goes in a
  // circle.
  std::string_view calls;
  // Whether it is believed whose call it passes on: the client's address in x-forwarded-for.
  bool names_clients;
  // Whether it is believed which collector it speaks for: x-collector-id.
  bool speaks_for_collectors;
};

// In the order of their start; they stop in reverse.
// clang-format off
inline constexpr ServiceRow kServices[] = {
    {.name = "auth", .package = "pganalytics.auth.", .port = 9091, .calls = "",
     .names_clients = false, .speaks_for_collectors = false},
    {.name = "query", .package = "pganalytics.query.", .port = 9094, .calls = "auth",
     .names_clients = false, .speaks_for_collectors = false},
    {.name = "registry", .package = "pganalytics.registry.", .port = 9092, .calls = "auth query",
     .names_clients = false, .speaks_for_collectors = false},
    {.name = "ingest", .package = "pganalytics.ingest.", .port = 9093, .calls = "auth registry",
     .names_clients = true, .speaks_for_collectors = true},
    {.name = "compactor", .package = "pganalytics.compactor.", .port = 9095, .calls = "auth",
     .names_clients = false, .speaks_for_collectors = false},
    {.name = "ruler", .package = "pganalytics.ruler.", .port = 9096, .calls = "auth query registry compactor",
     .names_clients = false, .speaks_for_collectors = false},
    {.name = "gateway", .package = "", .port = 0, .calls = "auth query registry ingest compactor ruler",
     .names_clients = true, .speaks_for_collectors = false},
};
// clang-format on

// The row of that name; null for any other name.
constexpr const ServiceRow* FindService(std::string_view name) {
  const auto* const found = std::ranges::find(kServices, name, &ServiceRow::name);
  return found == std::end(kServices) ? nullptr : found;
}

// A set of services: bit i for row i. 0 for a name that is in no row.
using ServiceSet = uint32_t;
constexpr ServiceSet ServiceBit(std::string_view name) {
  const ServiceRow* const row = FindService(name);
  return row == nullptr ? 0 : ServiceSet{1} << (row - std::begin(kServices));
}

// Names of the services that the row's service calls, in the table's order.
std::vector<std::string_view> CallsOf(const ServiceRow& row);

// Variable with the address of the service: "AUTH_SERVICE_ADDR".
std::string AddressVariable(std::string_view name);

// What SERVICE_SECRET and the files of SERVICE_SECRETS_DIR say: one secret, or two while it is rotated, the new one
// first, each on a line of its own. A service shows the first and, while that is refused, the second; auth takes
// either. INVALID_ARGUMENT for an empty text, more than two lines, or a line longer than 1024 bytes; the message quotes
// nothing.
absl::StatusOr<std::vector<std::string>> ParseServiceSecrets(std::string_view text);

}  // namespace pga::token
