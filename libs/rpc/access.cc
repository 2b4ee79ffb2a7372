#include "libs/rpc/access.h"

#include "libs/token/services.h"
#include "pganalytics/common/v1/common.pb.h"

namespace pga::rpc {

token::Access ToAccess(const pganalytics::common::v1::Access& option) {
  token::Access access;
  access.anonymous = option.anonymous();
  switch (option.user()) {
    case pganalytics::common::v1::ROLE_VIEWER:
      access.user = token::Role::kViewer;
      break;
    case pganalytics::common::v1::ROLE_USER:
      access.user = token::Role::kUser;
      break;
    case pganalytics::common::v1::ROLE_ADMIN:
      access.user = token::Role::kAdmin;
      break;
    default:
      break;
  }
  access.collector = option.collector();
  for (const std::string& name : option.services()) access.services |= token::ServiceBit(name);
  access.registration_secret = option.registration_secret();
  return access;
}

}  // namespace pga::rpc
