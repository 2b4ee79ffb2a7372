// The limit of open files: raised as far as the system lets it, shared out among connections, and what a port does when
// nothing of it is left.
#pragma once

#include <cstdint>
#include <string>

#include "libs/clock/steady.h"

namespace pga::exec {

// Raises the soft limit of this process to its hard one: the soft one is often 1,024. To be called before threads
// start.
void RaiseOpenFiles();

// How many connections of `files` open files each may be open at a time: `wanted`, or as many as the limit leaves
// beside those of the process itself. The log says what is missing and how it is mended.
int ConnectionsThatFit(const std::string& what, int wanted, int files);

// An open file that is given up when no other is left, so that clients in the queue of a port are refused: otherwise
// they would wait there, and the port would be ready for ever. For one thread at a time.
class SpareFile {
 public:
  SpareFile();
  ~SpareFile();
  SpareFile(const SpareFile&) = delete;
  SpareFile& operator=(const SpareFile&) = delete;

  // Takes at most `most` connections from a listening, non-blocking socket and closes them; how many there were.
  int RefuseWaiting(int listener, int most);

 private:
  int fd_ = -1;
  int64_t refused_ = 0;
  clock::SteadyTime said_ = clock::SteadyTime::InfinitePast();
};

}  // namespace pga::exec
