#include "libs/rpc/door_metadata.h"

#include "libs/token/keys.h"
#include "libs/token/secret_key.h"

namespace pga::rpc {

const std::string& DoorProof() {
  static const auto* const proof = new std::string(token::RandomHex(32));
  return *proof;
}

bool IsDoorProof(std::string_view text) {
  return token::SameBytes(text, DoorProof());
}

}  // namespace pga::rpc
