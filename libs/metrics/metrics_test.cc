#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <string>

#include "libs/metrics/registry.h"
#include "libs/status/testing.h"

namespace pga::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Get(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    ssize_t got = 0;
    while ((got = read(fd, buffer, sizeof(buffer))) > 0) answer.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  return answer;
}

TEST(Registry, RendersWhatWasCounted) {
  Registry registry;
  registry.AddCounter("pga_test_calls_total", "Calls.", {{"code", "ok"}}).Increment(3);
  registry.AddGauge("pga_test_depth", "Depth.").Set(2);
  registry.AddHistogram("pga_test_seconds", "Time.", {}, {0.1, 1}).Observe(0.5);
  const std::string text = registry.Render();
  EXPECT_THAT(text, HasSubstr("pga_test_calls_total{code=\"ok\"} 3"));
  EXPECT_THAT(text, HasSubstr("pga_test_depth 2"));
  EXPECT_THAT(text, HasSubstr("pga_test_seconds_bucket{le=\"1\"} 1"));
  for (const char* name : {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds",
                           "process_open_fds", "process_threads"}) {
    EXPECT_THAT(text, HasSubstr(name));
  }
  EXPECT_THAT(Registry(false).Render(), Not(HasSubstr("process_")));
}

TEST(Registry, SameNameAndLabelsAreTheSameObject) {
  Registry registry(false);
  Counter& first = registry.AddCounter("pga_test_total", "Test.", {{"a", "1"}});
  EXPECT_EQ(&first, &registry.AddCounter("pga_test_total", "Test.", {{"a", "1"}}));
  EXPECT_NE(&first, &registry.AddCounter("pga_test_total", "Test.", {{"a", "2"}}));
}

TEST(Exposer, ServesMetricsOnAFreePort) {
  Registry registry;
  registry.AddCounter("pga_test_calls_total", "Calls.").Increment();
  auto exposer = Exposer::Start("127.0.0.1:0", registry);
  ASSERT_THAT(exposer, status::IsOk());
  ASSERT_GT((*exposer)->port(), 0);
  EXPECT_THAT(Get((*exposer)->port(), "/metrics"), HasSubstr("pga_test_calls_total 1"));
  const std::string taken = "127.0.0.1:" + std::to_string((*exposer)->port());
  EXPECT_THAT(Exposer::Start(taken, registry), status::StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace pga::metrics
