#include <rondo/base/error.h>

namespace rondo {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kTaskFailed:
      return "TaskFailed";
    case ErrorCode::kActorDied:
      return "ActorDied";
    case ErrorCode::kObjectLost:
      return "ObjectLost";
    case ErrorCode::kTimeout:
      return "Timeout";
    case ErrorCode::kCancelled:
      return "Cancelled";
    case ErrorCode::kOverloaded:
      return "Overloaded";
    case ErrorCode::kNotFound:
      return "NotFound";
    case ErrorCode::kInvalid:
      return "Invalid";
    case ErrorCode::kUnavailable:
      return "Unavailable";
  }
  return "Unknown";
}

}  // namespace rondo
