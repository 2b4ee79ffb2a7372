// Tokens that nobody may get in with: forged, changed, of another kind, for another use. What an attacker without the
// key can make carries signatures that are wrong; the rest carries right ones, as if a part of ours had signed it by
// mistake.
#pragma once

#include <string>
#include <vector>

namespace pga::integration {

// The values of the header Authorization (more than one = the header is sent so often), with what is odd about them.
struct Tampered {
  std::string name;
  std::vector<std::string> authorization;
};

// What a suite gave out itself, as material.
struct Genuine {
  // PEM of the key that signs tokens.
  std::string signing_key;
  // Access tokens of two sessions, and an API token, all good at its routes.
  std::string admin;
  std::string viewer;
  std::string api_token;
};

// A token with any header and payload, signed with ES256 by the test's own hand.
std::string SignedByHand(const std::string& key_pem, const std::string& header, const std::string& payload);
// The header and the claims that are right, for an administrator; the table's are these with one change each.
std::string GoodHeader(const std::string& key_pem);
std::string GoodPayload();

std::vector<Tampered> TamperedTokens(const Genuine& genuine);

}  // namespace pga::integration
