// gRPC's server reflection (grpc.reflection.v1 and v1alpha) for a port that is open to callers from outside: tools such
// as grpcurl learn the services and messages that the port offers. Administrators alone may ask. It describes the named
// services and the files that theirs need, and nothing else that the program has linked.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"

namespace grpc {
class Service;
}

namespace pga::rpc {

class Reflection {
 public:
  // Streams open at a time, and questions that one of them may ask. A stream lasts for the dispatcher's
  // request_timeout.
  static constexpr int kMostStreams = 16;
  static constexpr int kMostQuestions = 200;
  static constexpr int kLongestQuestion = 4096;

  // Full names of services whose protos are linked into the program. Sets the rule of access. Authenticator and
  // dispatcher outlive this, and this the server that carries services().
  Reflection(Authenticator* authenticator, Dispatcher* dispatcher, const std::vector<std::string>& services);
  ~Reflection();
  Reflection(const Reflection&) = delete;
  Reflection& operator=(const Reflection&) = delete;

  std::vector<grpc::Service*> services();

  // Ends open streams and refuses new ones, so that a tool does not hold up the server's end. Does not wait; repeating
  // is safe.
  void BeginDrain();

 private:
  struct Parts;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace pga::rpc
