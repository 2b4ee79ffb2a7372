// What a door passes to the services about a caller, as metadata of the in-process call. Outside callers cannot set it:
// a door drops these keys from what it forwards, and they count only beside a proof that never leaves the process.
#pragma once

#include <string>
#include <string_view>

namespace pga::rpc {

inline constexpr char kDoorPrefix[] = "x-door-";
// Random text of this process.
inline constexpr char kDoorProof[] = "x-door-proof";
// Address of the caller, as CallContext::peer has it.
inline constexpr char kDoorPeer[] = "x-door-peer";
// The client certificate that the TLS handshake verified, PEM; absent without one.
inline constexpr char kDoorCertificate[] = "x-door-certificate-bin";

// 64 hexadecimal digits, made once. Never logged, never sent.
const std::string& DoorProof();
// In constant time.
bool IsDoorProof(std::string_view text);

}  // namespace pga::rpc
