// Which of the configured sources this collector owns, as registry says, and what it says of them. A grant is kept on
// disk: the collector goes on reading what it owns, whoever is away, until registry says otherwise.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "pganalytics/registry/v1/enrolment_service.pb.h"

namespace pga::collector {

namespace registrypb = ::pganalytics::registry::v1;

struct Grant {
  std::string source_id;  // 16 bytes; empty = none yet
  int64_t owner_epoch = 0;
  // Whether the source is to be read.
  bool owned = false;

  friend bool operator==(const Grant&, const Grant&) = default;
};

// A source of the configuration. On the event loop alone.
class OwnedByGrant {
 public:
  virtual ~OwnedByGrant() = default;
  virtual const std::string& name() const = 0;
  virtual const Grant& grant() const = 0;
  // Fills everything but name and grant. False while nothing is known of it: it is not reported then.
  virtual bool Describe(registrypb::SourceReport* report) const = 0;
  // Where the owner before this collector ended in the server's log, by what is stored. Before the grant that it is
  // for.
  virtual void TakeLogPositions(int64_t /*owner_epoch*/,
                                const google::protobuf::RepeatedPtrField<registrypb::LogPosition>& /*positions*/) {}
  // The source is to be read under this grant from now on, or not to be read.
  virtual void TakeGrant(const Grant& grant) = 0;
};

// The file of grants in the state directory: a line for each source, UUID, epoch, "owned" or "waits", and name. Not
// thread-safe.
class GrantFile {
 public:
  explicit GrantFile(const std::string& state_dir) : path_(state_dir + "/sources") {}
  // By name; without what cannot be read.
  std::map<std::string, Grant> Load() const;
  absl::Status Store(const std::map<std::string, Grant>& grants) const;

 private:
  const std::string path_;
};

}  // namespace pga::collector
