#include "services/collector/ownership.h"

#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/frame/uuid.h"
#include "services/collector/durable_file.h"

namespace pga::collector {
namespace {

constexpr char kOwned[] = "owned";
constexpr char kWaits[] = "waits";

}  // namespace

std::map<std::string, Grant> GrantFile::Load() const {
  std::map<std::string, Grant> grants;
  std::ifstream in(path_);
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string uuid, epoch, state, name;
    words >> uuid >> epoch >> state;
    std::getline(words, name);
    const auto id = frame::ParseUuid(uuid);
    Grant grant;
    if (!id.ok() || !absl::SimpleAtoi(epoch, &grant.owner_epoch) || name.size() < 2) continue;
    if (state != kOwned && state != kWaits) continue;
    grant.source_id = *id;
    grant.owned = state == kOwned;
    grants[name.substr(1)] = grant;
  }
  return grants;
}

absl::Status GrantFile::Store(const std::map<std::string, Grant>& grants) const {
  std::string text;
  for (const auto& [name, grant] : grants) {
    absl::StrAppend(&text, frame::FormatUuid(grant.source_id), " ", grant.owner_epoch, " ",
                    grant.owned ? kOwned : kWaits, " ", name, "\n");
  }
  return WritePrivateFile(path_, text);
}

}  // namespace pga::collector
