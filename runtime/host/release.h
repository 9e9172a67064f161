#pragma once

// What people see as the version; kProtocolVersion (limits.h) is what peers compare.

namespace rondo::host {
constexpr const char* kRelease = "0.1.0";
}
