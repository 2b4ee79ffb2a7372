// Answers as JSON: the form of protobuf's own JSON (https://protobuf.dev/programming-guides/json) with the names of the
// protos, every field without presence written also with its default, 64-bit integers as strings, and nothing for what
// is not set. Fields are in the order of the proto.
//
// protobuf's own writer makes a tree of the whole message first, of many times its size, and takes twice as long. Pure,
// thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace google::protobuf {
class Message;
}

namespace pga::gateway {

// Appends to `out`. INTERNAL when a value has no form in JSON: an instant before the year 1 or after 9999, texts that
// are not UTF-8.
absl::Status WriteJson(const google::protobuf::Message& message, std::string* out);

}  // namespace pga::gateway
