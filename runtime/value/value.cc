#include <algorithm>

#include <rondo/base/error.h>
#include <rondo/value/reader.h>
#include <rondo/value/type_name.h>
#include <rondo/value/writer.h>

namespace rondo {

void Writer::grew() {
  throw Error(ErrorCode::kInvalid,
              "a value changed while it was written: do not modify it until the call that sends it "
              "returns");
}

void Writer::empty_ref() {
  throw Error(ErrorCode::kInvalid, "an empty Ref cannot travel: it stands for no value");
}

Buffer Reader::share(std::size_t n) {
  const ByteView taken = bytes(n);
  if (buffer_->hold()) return {taken, buffer_->hold()};
  return Buffer(rondo::share(to_bytes(taken)));   // a small value inside a cell: copied
}

namespace detail {

bool TypeName::enter(const std::type_info& type) {
  const auto found = std::find_if(open_.rbegin(), open_.rend(),
                                  [&](const std::type_info* open) { return *open == type; });
  if (found == open_.rend()) {
    open_.push_back(&type);
    return true;
  }
  text += "^" + std::to_string(found - open_.rbegin() + 1);
  return false;
}

void throw_malformed(const char* why, std::string (*type)()) {
  throw Error(ErrorCode::kInvalid, "these bytes are no " + type() + ": " + why);
}

}  // namespace detail
}  // namespace rondo
