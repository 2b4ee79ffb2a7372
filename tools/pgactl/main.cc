// pgactl: the suite from the command line.
#include <iostream>
#include <string>
#include <vector>

#include "libs/config/config.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "libs/rpc/runtime.h"
#include "tools/pgactl/command.h"

int main(int argc, char** argv) {
  // Messages go to people; the libraries' own log lines would stand between them.
  pga::log::Init({.level = pga::log::Level::off, .json = true, .service = "pgactl", .sink = {}});
  const std::vector<std::string> words(argv + 1, argv + argc);
  for (const std::string& word : words) {
    // Only watching needs to end in an orderly way; anything else ends at once on Ctrl-C.
    if (word.rfind("--watch", 0) == 0) pga::exec::ShutdownSignal::Install();
  }
  // A migration does not end half-way because its reader, such as head, has seen enough.
  pga::exec::ShutdownSignal::IgnoreBrokenPipes();
  const pga::rpc::Runtime grpc;
  return pga::pgactl::RunPgactl(words, pga::config::ProcessEnvironment(), std::cout, std::cerr);
}
