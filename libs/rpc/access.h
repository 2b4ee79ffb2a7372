// The option pganalytics.common.v1.access of a method as a plain value. Pure, thread-safe.
#pragma once

#include "libs/token/principal.h"

namespace pganalytics::common::v1 {
class Access;
}

namespace pga::rpc {

// What is not known here, a role's number or a service's name, gives nobody access.
token::Access ToAccess(const pganalytics::common::v1::Access& option);

}  // namespace pga::rpc
