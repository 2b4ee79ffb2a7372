#include "libs/backup/sealed_stream.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

constexpr char kPurpose[] = "pganalytics backup file 1";
constexpr size_t kTagBytes = 16;
constexpr size_t kNonceBytes = 12;
constexpr size_t kLengthBytes = 4;
constexpr uint32_t kLast = uint32_t{1} << 31;
constexpr size_t kSaltAt = 32;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(char* text) {
  return reinterpret_cast<unsigned char*>(text);
}

void AppendNumber(std::string* out, uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8) out->push_back(static_cast<char>(number >> shift & 0xff));
}

uint32_t Number(std::string_view bytes) {
  uint32_t number = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) number |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return number;
}

// Big endian in the last eight bytes.
std::string Nonce(uint64_t chunk) {
  std::string nonce(kNonceBytes, '\0');
  for (size_t i = 0; i < 8; ++i) nonce[kNonceBytes - 1 - i] = static_cast<char>(chunk >> (8 * i) & 0xff);
  return nonce;
}

std::string HeaderText(const SealedHeader& header) {
  std::string text = absl::StrCat(std::string(kSealedMagic), header.key_id, header.backup_id, header.salt);
  AppendNumber(&text, header.content);
  AppendNumber(&text, header.chunk_bytes);
  return text;
}

}  // namespace

absl::StatusOr<SealedHeader> ParseSealedHeader(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes || bytes.substr(0, kSealedMagic.size()) != kSealedMagic) {
    return absl::FailedPreconditionError("it does not begin like a file of `pgactl backup create`");
  }
  SealedHeader header;
  header.key_id = bytes.substr(8, kKeyIdBytes);
  header.backup_id = bytes.substr(16, kBackupIdBytes);
  header.salt = bytes.substr(kSaltAt, kSaltBytes);
  header.content = Number(bytes.substr(kSaltAt + kSaltBytes));
  header.chunk_bytes = Number(bytes.substr(kSaltAt + kSaltBytes + 4));
  if (header.chunk_bytes == 0 || header.chunk_bytes > kMostChunkBytes) {
    return absl::FailedPreconditionError("its header is damaged");
  }
  return header;
}

struct SealedWriter::Impl {
  std::string header_text;
  std::string key;
  std::string salt;
  uint32_t chunk_bytes = 0;
  Sink sink;
  Context context;
  std::string pending;
  int64_t plain_bytes = 0;
  int64_t sealed_bytes = 0;
  int64_t chunks = 0;
  bool finished = false;

  absl::Status Put(std::string_view bytes) {
    PGA_RETURN_IF_ERROR(sink(bytes));
    sealed_bytes += static_cast<int64_t>(bytes.size());
    return absl::OkStatus();
  }

  absl::Status Seal(bool last) {
    std::string record;
    AppendNumber(&record, static_cast<uint32_t>(pending.size()) | (last ? kLast : 0));
    const std::string length = record;
    const std::string nonce = Nonce(static_cast<uint64_t>(chunks));
    record.resize(kLengthBytes + pending.size() + kTagBytes);
    unsigned char* cipher = Bytes(record.data()) + kLengthBytes;
    int written = 0;
    if (EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(std::string_view(key)),
                           Bytes(std::string_view(nonce))) != 1 ||
        EVP_EncryptUpdate(context.get(), nullptr, &written, Bytes(std::string_view(header_text)),
                          static_cast<int>(header_text.size())) != 1 ||
        EVP_EncryptUpdate(context.get(), nullptr, &written, Bytes(std::string_view(length)),
                          static_cast<int>(length.size())) != 1 ||
        EVP_EncryptUpdate(context.get(), cipher, &written, Bytes(std::string_view(pending)),
                          static_cast<int>(pending.size())) != 1 ||
        EVP_EncryptFinal_ex(context.get(), cipher + pending.size(), &written) != 1 ||
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, cipher + pending.size()) != 1) {
      return absl::InternalError("sealing failed");
    }
    plain_bytes += static_cast<int64_t>(pending.size());
    ++chunks;
    pending.clear();
    return Put(record);
  }
};

SealedWriter::SealedWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SealedWriter::~SealedWriter() = default;

absl::StatusOr<std::unique_ptr<SealedWriter>> SealedWriter::Create(const BackupKey& key, std::string_view backup_id,
                                                                   uint32_t content, Sink sink, uint32_t chunk_bytes) {
  if (backup_id.size() != kBackupIdBytes || chunk_bytes == 0 || chunk_bytes > kMostChunkBytes) {
    return absl::InternalError("a sealed stream needs an id of 16 bytes and a size of its chunks");
  }
  SealedHeader header{key.id(), std::string(backup_id), std::string(kSaltBytes, '\0'), content, chunk_bytes};
  auto impl = std::make_unique<Impl>();
  impl->context.reset(EVP_CIPHER_CTX_new());
  if (impl->context == nullptr || RAND_bytes(Bytes(header.salt.data()), kSaltBytes) != 1) {
    return absl::InternalError("the crypto library gives no random bytes");
  }
  PGA_ASSIGN_OR_RETURN(impl->key, key.Derive(kPurpose, header.salt));
  impl->header_text = HeaderText(header);
  impl->salt = header.salt;
  impl->chunk_bytes = chunk_bytes;
  impl->sink = std::move(sink);
  impl->pending.reserve(chunk_bytes);
  PGA_RETURN_IF_ERROR(impl->Put(impl->header_text));
  return std::unique_ptr<SealedWriter>(new SealedWriter(std::move(impl)));
}

absl::Status SealedWriter::Write(std::string_view plain) {
  while (!plain.empty()) {
    // A full chunk is sealed when more follows: the last one of a stream has the mark of the end.
    if (impl_->pending.size() == impl_->chunk_bytes) PGA_RETURN_IF_ERROR(impl_->Seal(false));
    const size_t part = std::min(plain.size(), impl_->chunk_bytes - impl_->pending.size());
    impl_->pending.append(plain.substr(0, part));
    plain.remove_prefix(part);
  }
  return absl::OkStatus();
}

absl::Status SealedWriter::Finish() {
  if (impl_->finished) return absl::InternalError("a sealed stream ends once");
  impl_->finished = true;
  return impl_->Seal(true);
}

const std::string& SealedWriter::salt() const {
  return impl_->salt;
}
int64_t SealedWriter::plain_bytes() const {
  return impl_->plain_bytes;
}
int64_t SealedWriter::sealed_bytes() const {
  return impl_->sealed_bytes;
}
int64_t SealedWriter::chunks() const {
  return impl_->chunks;
}

struct SealedReader::Impl {
  SealedHeader header;
  std::string header_text;
  std::string key;
  Source source;
  Context context;
  std::string record;
  std::string plain;
  int64_t plain_bytes = 0;
  int64_t sealed_bytes = 0;
  int64_t chunks = 0;
  bool ended = false;
  absl::Status failure;

  absl::Status Damaged(std::string_view why) const {
    return absl::FailedPreconditionError(
        absl::StrCat("chunk ", chunks, " is damaged: ", absl::string_view(why.data(), why.size())));
  }

  // Exactly `size` bytes to the end of `record`.
  absl::Status Read(size_t size) {
    const size_t at = record.size();
    record.resize(at + size);
    PGA_ASSIGN_OR_RETURN(const size_t got, source(record.data() + at, size));
    sealed_bytes += static_cast<int64_t>(got);
    if (got == size) return absl::OkStatus();
    return Damaged("the file ends before its end mark");
  }

  absl::Status ReadChunk() {
    record.clear();
    PGA_RETURN_IF_ERROR(Read(kLengthBytes));
    const uint32_t word = Number(record);
    const bool last = (word & kLast) != 0;
    const uint32_t length = word & ~kLast;
    if (length > header.chunk_bytes || (!last && length != header.chunk_bytes)) return Damaged("its length is wrong");
    PGA_RETURN_IF_ERROR(Read(length + kTagBytes));
    const std::string nonce = Nonce(static_cast<uint64_t>(chunks));
    const std::string_view size = std::string_view(record).substr(0, kLengthBytes);
    const std::string_view cipher = std::string_view(record).substr(kLengthBytes, length);
    plain.resize(length);
    int written = 0;
    if (EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(std::string_view(key)),
                           Bytes(std::string_view(nonce))) != 1 ||
        EVP_DecryptUpdate(context.get(), nullptr, &written, Bytes(std::string_view(header_text)),
                          static_cast<int>(header_text.size())) != 1 ||
        EVP_DecryptUpdate(context.get(), nullptr, &written, Bytes(size), static_cast<int>(size.size())) != 1 ||
        EVP_DecryptUpdate(context.get(), Bytes(plain.data()), &written, Bytes(cipher), static_cast<int>(length)) != 1 ||
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, record.data() + kLengthBytes + length) !=
            1 ||
        EVP_DecryptFinal_ex(context.get(), Bytes(plain.data()) + length, &written) != 1) {
      plain.clear();
      return Damaged("it is not what was written in its place");
    }
    if (last) {
      char more = 0;
      PGA_ASSIGN_OR_RETURN(const size_t got, source(&more, 1));
      if (got != 0) {
        plain.clear();
        return Damaged("something follows the end");
      }
      ended = true;
    }
    plain_bytes += length;
    ++chunks;
    return absl::OkStatus();
  }
};

SealedReader::SealedReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SealedReader::~SealedReader() = default;

absl::StatusOr<std::unique_ptr<SealedReader>> SealedReader::Open(const BackupKey& key, Source source) {
  auto impl = std::make_unique<Impl>();
  impl->source = std::move(source);
  impl->header_text.resize(kHeaderBytes);
  PGA_ASSIGN_OR_RETURN(const size_t got, impl->source(impl->header_text.data(), kHeaderBytes));
  PGA_ASSIGN_OR_RETURN(impl->header, ParseSealedHeader(std::string_view(impl->header_text).substr(0, got)));
  if (impl->header.key_id != key.id()) {
    return absl::PermissionDeniedError(absl::StrCat("it was sealed with the key of id ",
                                                    absl::BytesToHexString(impl->header.key_id), ", BACKUP_KEY has id ",
                                                    absl::BytesToHexString(key.id())));
  }
  impl->sealed_bytes = static_cast<int64_t>(got);
  PGA_ASSIGN_OR_RETURN(impl->key, key.Derive(kPurpose, impl->header.salt));
  impl->context.reset(EVP_CIPHER_CTX_new());
  if (impl->context == nullptr) return absl::InternalError("the crypto library has no memory");
  return std::unique_ptr<SealedReader>(new SealedReader(std::move(impl)));
}

const SealedHeader& SealedReader::header() const {
  return impl_->header;
}

absl::StatusOr<std::string_view> SealedReader::Next() {
  if (!impl_->failure.ok()) return impl_->failure;
  // Only the last chunk may be empty, and it is the end.
  if (impl_->ended) return std::string_view();
  impl_->failure = impl_->ReadChunk();
  if (!impl_->failure.ok()) return impl_->failure;
  return std::string_view(impl_->plain);
}

int64_t SealedReader::plain_bytes() const {
  return impl_->plain_bytes;
}
int64_t SealedReader::sealed_bytes() const {
  return impl_->sealed_bytes;
}
int64_t SealedReader::chunks() const {
  return impl_->chunks;
}

}  // namespace pga::backup
