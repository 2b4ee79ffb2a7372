// Counts of sampled sessions by what they do: pg_stat_activity is read every second, and once per interval the counts
// become the rows of the metric `activity`. Pure; used on the event loop.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "services/collector/reading.h"

namespace pga::collector {

// One session of one sample. Empty texts stand for NULL.
struct SampledSession {
  std::string datname;
  std::string usename;
  std::string application_name;
  std::string backend_type;
  int64_t query_id = 0;
  std::string state;
  std::string wait_event_type;
  std::string wait_event;
  int64_t xact_age_us = 0;
  int64_t query_age_us = 0;
  int64_t state_age_us = 0;
  bool text_replaced = false;  // a part of a text was no character
};

class ActivityCounts {
 public:
  // Begins a sample; Add() its sessions.
  void BeginSample() { ++samples_; }
  void Add(const SampledSession& session);

  bool empty() const { return samples_ == 0; }
  int64_t samples() const { return samples_; }
  size_t rows() const { return counts_.size(); }

  // Appends one row per kind of session.
  void Fill(Reading* reading) const;
  // Takes counts back that could not be stored.
  void Merge(const ActivityCounts& other);

 private:
  using Key =
      std::tuple<std::string, std::string, std::string, std::string, int64_t, std::string, std::string, std::string>;
  struct Count {
    int64_t samples = 0;
    int64_t in_sample = 0;
    int64_t sample = 0;  // the sample that in_sample belongs to
    int64_t most = 0;
    int64_t xact_age_us = 0;
    int64_t query_age_us = 0;
    int64_t state_age_us = 0;
    bool text_replaced = false;
  };

  std::map<Key, Count> counts_;
  int64_t samples_ = 0;
};

}  // namespace pga::collector
