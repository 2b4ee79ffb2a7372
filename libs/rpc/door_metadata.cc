#include "libs/rpc/door_metadata.h"

#include <openssl/crypto.h>

#include "libs/token/keys.h"

namespace pga::rpc {

const std::string& DoorProof() {
  static const auto* const proof = new std::string(token::RandomHex(32));
  return *proof;
}

bool IsDoorProof(std::string_view text) {
  const std::string& proof = DoorProof();
  return text.size() == proof.size() && CRYPTO_memcmp(text.data(), proof.data(), proof.size()) == 0;
}

}  // namespace pga::rpc
