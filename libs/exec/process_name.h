// A name for this process among all that share a database: who holds a lease.
#pragma once

#include <string>

namespace pga::exec {

// Host, process id and a number that another start of the same id does not have.
std::string UniqueProcessName();

}  // namespace pga::exec
