#include "libs/exec/process_name.h"

#include <unistd.h>

#include <random>

#include "absl/strings/str_cat.h"

namespace pga::exec {

std::string UniqueProcessName() {
  char host[256] = "host";
  ::gethostname(host, sizeof host - 1);
  return absl::StrCat(host, ":", ::getpid(), ":", std::random_device()());
}

}  // namespace pga::exec
