#include "libs/frame/digest.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <cstring>
#include <memory>

namespace pga::frame {
namespace {

struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// Fetching the algorithm and making a context cost more than hashing a short label; both are kept.
EVP_MD_CTX* ThreadContext() {
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local std::unique_ptr<EVP_MD_CTX, ContextDeleter> context(EVP_MD_CTX_new());
  if (algorithm == nullptr || context == nullptr || EVP_DigestInit_ex2(context.get(), algorithm, nullptr) != 1) {
    std::abort();  // OpenSSL without SHA-256 or memory: nothing sensible can follow
  }
  return context.get();
}

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) != 0 ? 0x82F63B78u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = MakeTable();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t Crc32cSse(std::string_view data, uint32_t crc) {
  uint64_t state = ~crc;
  const char* at = data.data();
  size_t left = data.size();
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);
    state = __builtin_ia32_crc32di(state, word);
  }
  auto narrow = static_cast<uint32_t>(state);
  for (; left > 0; --left, ++at) narrow = __builtin_ia32_crc32qi(narrow, static_cast<unsigned char>(*at));
  return ~narrow;
}
#endif

}  // namespace

Sha256Digest Sha256(std::initializer_list<std::string_view> parts) {
  EVP_MD_CTX* context = ThreadContext();
  for (const std::string_view part : parts) {
    if (EVP_DigestUpdate(context, part.data(), part.size()) != 1) std::abort();
  }
  Sha256Digest digest;
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(context, digest.data(), &length) != 1 || length != digest.size()) std::abort();
  return digest;
}

std::string ChainHash(std::string_view prev_hash, std::string_view stream_id, int64_t seq, std::string_view payload) {
  std::array<char, 8> number;
  auto bits = static_cast<uint64_t>(seq);
  for (size_t i = 8; i-- > 0; bits >>= 8) number[i] = static_cast<char>(bits & 0xff);
  const Sha256Digest digest = Sha256({prev_hash, stream_id, {number.data(), number.size()}, payload});
  return std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

std::string ZeroHash() {
  return std::string(kHashBytes, '\0');
}

uint32_t Crc32c(std::string_view data, uint32_t crc) {
#if defined(__x86_64__)
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2") != 0;
  if (has_sse42) return Crc32cSse(data, crc);
#endif
  return internal::Crc32cTable(data, crc);
}

namespace internal {

uint32_t Crc32cTable(std::string_view data, uint32_t crc) {
  uint32_t state = ~crc;
  for (const char c : data) state = (state >> 8) ^ kTable[(state ^ static_cast<unsigned char>(c)) & 0xff];
  return ~state;
}

}  // namespace internal
}  // namespace pga::frame
