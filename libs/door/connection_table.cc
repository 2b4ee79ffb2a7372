#include "libs/door/connection_table.h"

#include <utility>

namespace pga::door {

const std::list<uint64_t>* ConnectionTable::Busiest() const {
  const std::list<uint64_t>* found = nullptr;
  for (const auto& [name, address] : addresses_) {
    const std::list<uint64_t>& these = address.unknown;
    if (these.empty()) continue;
    // Among equals whoever has waited longest: a flood from many addresses keeps nobody out who comes to ask something.
    if (found == nullptr || these.size() > found->size() ||
        (these.size() == found->size() && these.front() < found->front())) {
      found = &these;
    }
  }
  return found;
}

ConnectionTable::Entry ConnectionTable::Open(const std::string& address, std::function<void()> close) {
  absl::MutexLock lock(&mutex_);
  Entry entry;
  const std::list<uint64_t>* from = nullptr;
  {
    const auto found = addresses_.find(address);
    const bool many =
        found != addresses_.end() && (static_cast<int>(found->second.unknown.size()) >= limits_.unknown_per_address ||
                                      found->second.total >= limits_.per_address);
    if (many) {
      from = &found->second.unknown;
    } else if (unknown_ >= limits_.unknown_total || static_cast<int>(connections_.size()) >= limits_.total) {
      from = Busiest();
    }
    // Only callers that nobody knows give way.
    if ((from != nullptr && from->empty()) ||
        (from == nullptr && static_cast<int>(connections_.size()) >= limits_.total)) {
      return entry;
    }
  }
  if (from != nullptr) {
    const uint64_t oldest = from->front();
    entry.evict = std::move(connections_[oldest].close);
    Remove(oldest);
  }
  entry.id = next_++;
  Address& of = addresses_[address];
  ++of.total;
  ++unknown_;
  Connection& connection = connections_[entry.id];
  connection.address = address;
  connection.close = std::move(close);
  connection.place = of.unknown.insert(of.unknown.end(), entry.id);
  return entry;
}

bool ConnectionTable::Known(uint64_t id, const std::string& caller) {
  absl::MutexLock lock(&mutex_);
  const auto found = connections_.find(id);
  if (found == connections_.end()) return false;
  Connection& connection = found->second;
  if (connection.known) return true;
  if (limits_.known_per_caller > 0 && !caller.empty()) {
    int& count = callers_[caller];
    if (count >= limits_.known_per_caller) return true;
    ++count;
    connection.caller = caller;
  }
  connection.known = true;
  connection.close = nullptr;
  addresses_[connection.address].unknown.erase(connection.place);
  --unknown_;
  return true;
}

void ConnectionTable::Close(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  Remove(id);
}

void ConnectionTable::Remove(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  const auto address = addresses_.find(found->second.address);
  if (const auto caller = callers_.find(found->second.caller); caller != callers_.end() && --caller->second == 0) {
    callers_.erase(caller);
  }
  if (!found->second.known) {
    address->second.unknown.erase(found->second.place);
    --unknown_;
  }
  if (--address->second.total == 0) addresses_.erase(address);
  connections_.erase(found);
}

int ConnectionTable::size() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(connections_.size());
}

int ConnectionTable::unknown() const {
  absl::MutexLock lock(&mutex_);
  return unknown_;
}

}  // namespace pga::door
