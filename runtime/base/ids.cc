#include <rondo/base/ids.h>

namespace rondo {

std::string hex(std::uint64_t value) {
  static const char* digits = "0123456789abcdef";
  std::string out(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4) out[static_cast<std::size_t>(i)] = digits[value & 15];
  return out;
}

std::string to_string(ActorId id) {
  return hex(id.creator.value) + "." + std::to_string(id.number);
}

std::string to_string(ObjectId id) {
  return hex(id.owner.value) + "." + std::to_string(id.index) + "." + std::to_string(id.generation);
}

}  // namespace rondo
