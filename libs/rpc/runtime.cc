#include "libs/rpc/runtime.h"

#include <grpc/grpc.h>
#include <openssl/crypto.h>

#include "libs/clock/steady.h"
#include "libs/log/log.h"

namespace pga::rpc {

Runtime::Runtime() {
  // The first use of OpenSSL decides whether the end of main takes its state away from whoever still uses it.
  if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr) != 1) PGA_LOG(error, "OpenSSL cannot be used");
  grpc_init();
}

Runtime::~Runtime() {
  // When a thread of gRPC held the last reference, the library is taken down on a thread that nobody can join; whether
  // it is down can only be asked.
  grpc_shutdown();
  const clock::SteadyTime give_up = clock::SteadyNow() + kPatience;
  while (grpc_is_initialized() != 0) {
    if (clock::SteadyNow() > give_up) {
      PGA_LOG(debug, "gRPC still runs at the end of the program");
      return;
    }
    clock::SleepFor(absl::Milliseconds(1));
  }
}

}  // namespace pga::rpc
