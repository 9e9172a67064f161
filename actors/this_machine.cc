#include <rondo/actors/this_machine.h>

#include <fstream>

#include <unistd.h>

namespace rondo::actors {

std::string boot_id() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return boot;
}

std::string this_machine() {
  char space[64] = {};
  if (::readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0) space[0] = '\0';
  return boot_id() + " " + space + " " + std::to_string(::getuid());
}

}  // namespace rondo::actors
