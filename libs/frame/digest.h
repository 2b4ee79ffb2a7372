// Digests of frames and spool records: SHA-256 for the batch chain and text ids, CRC32C for records on disk. Pure
// functions, thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace pga::frame {

inline constexpr size_t kHashBytes = 32;
using Sha256Digest = std::array<unsigned char, kHashBytes>;

// SHA-256 over the parts, one after the other.
Sha256Digest Sha256(std::initializer_list<std::string_view> parts);

// hash(n) = SHA-256(hash(n-1) || stream_id || seq as 8 big-endian bytes || payload), 32 bytes. For the first batch of a
// stream `prev_hash` is ZeroHash().
std::string ChainHash(std::string_view prev_hash, std::string_view stream_id, int64_t seq, std::string_view payload);

// hash(0): 32 zero bytes.
std::string ZeroHash();

// CRC32C (Castagnoli) of `data`, continuing `crc` (0 to begin). Uses SSE4.2 where the CPU has it.
uint32_t Crc32c(std::string_view data, uint32_t crc = 0);

namespace internal {
// The portable form, for tests.
uint32_t Crc32cTable(std::string_view data, uint32_t crc);
}  // namespace internal

}  // namespace pga::frame
