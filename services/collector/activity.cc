#include "services/collector/activity.h"

#include <algorithm>

namespace pga::collector {
namespace {

// Beyond this many kinds of sessions in one interval, statements are no longer distinguished.
constexpr size_t kMaxKinds = 5000;

}  // namespace

void ActivityCounts::Add(const SampledSession& session) {
  Key key(session.datname, session.usename, session.application_name, session.backend_type, session.query_id,
          session.state, session.wait_event_type, session.wait_event);
  auto it = counts_.find(key);
  if (it == counts_.end()) {
    if (counts_.size() >= kMaxKinds) {
      std::get<2>(key) = "(other)";
      std::get<4>(key) = 0;
    }
    it = counts_.try_emplace(std::move(key)).first;
  }
  Count& count = it->second;
  if (count.sample != samples_) {
    count.sample = samples_;
    count.in_sample = 0;
  }
  ++count.samples;
  count.text_replaced = count.text_replaced || session.text_replaced;
  count.most = std::max(count.most, ++count.in_sample);
  count.xact_age_us = std::max(count.xact_age_us, session.xact_age_us);
  count.query_age_us = std::max(count.query_age_us, session.query_age_us);
  count.state_age_us = std::max(count.state_age_us, session.state_age_us);
}

void ActivityCounts::Fill(Reading* reading) const {
  const MetricShape& shape = reading->shape();
  const int texts[] = {shape.Find("datname"),      shape.Find("usename"), shape.Find("application_name"),
                       shape.Find("backend_type"), shape.Find("state"),   shape.Find("wait_event_type"),
                       shape.Find("wait_event")};
  const int query_id = shape.Find("query_id");
  const int samples = shape.Find("samples");
  const int average = shape.Find("sessions_avg");
  const int most = shape.Find("sessions_max");
  const int xact_age = shape.Find("max_xact_age_us");
  const int query_age = shape.Find("max_query_age_us");
  const int state_age = shape.Find("max_state_age_us");
  for (const auto& [key, count] : counts_) {
    reading->AddRow();
    const std::string* values[] = {&std::get<0>(key), &std::get<1>(key), &std::get<2>(key), &std::get<3>(key),
                                   &std::get<5>(key), &std::get<6>(key), &std::get<7>(key)};
    for (size_t i = 0; i < std::size(texts); ++i) reading->SetText(texts[i], *values[i], count.text_replaced);
    if (std::get<4>(key) != 0) reading->SetInt(query_id, std::get<4>(key));
    reading->SetInt(samples, count.samples);
    reading->SetDouble(average,
                       static_cast<double>(count.samples) / static_cast<double>(std::max<int64_t>(samples_, 1)));
    reading->SetInt(most, count.most);
    reading->SetInt(xact_age, count.xact_age_us);
    reading->SetInt(query_age, count.query_age_us);
    reading->SetInt(state_age, count.state_age_us);
  }
}

void ActivityCounts::Merge(const ActivityCounts& other) {
  for (const auto& [key, theirs] : other.counts_) {
    Count& ours = counts_[key];
    ours.samples += theirs.samples;
    ours.text_replaced = ours.text_replaced || theirs.text_replaced;
    ours.most = std::max(ours.most, theirs.most);
    ours.xact_age_us = std::max(ours.xact_age_us, theirs.xact_age_us);
    ours.query_age_us = std::max(ours.query_age_us, theirs.query_age_us);
    ours.state_age_us = std::max(ours.state_age_us, theirs.state_age_us);
    ours.sample = -1;
  }
  samples_ += other.samples_;
}

}  // namespace pga::collector
