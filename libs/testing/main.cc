// The main program of every test: like the services (exec::Shutdown), a test lives on when a peer closes a socket or a
// pipe that it writes to, also where a library writes (OpenSSL has no MSG_NOSIGNAL).
#include <gmock/gmock.h>

#include <csignal>

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
