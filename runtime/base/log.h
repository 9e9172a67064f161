#pragma once

#include <string>
#include <string_view>

// The process's diary: lines on stderr (a worker's stderr is its log file). Thread-safe.
// RONDO_LOG=debug|info|warn|error|off chooses what is written; the default is warn, so that a
// program's own output stays its own.

namespace rondo {

enum class LogLevel : unsigned char { kDebug, kInfo, kWarn, kError };

void log_open(
    std::string_view who);  // "node n1", shown in every line; called once by main or Runtime
void log(LogLevel level, std::string_view text);
inline void log_debug(std::string_view text) { log(LogLevel::kDebug, text); }
inline void log_info(std::string_view text) { log(LogLevel::kInfo, text); }
inline void log_warn(std::string_view text) { log(LogLevel::kWarn, text); }
inline void log_error(std::string_view text) { log(LogLevel::kError, text); }

}  // namespace rondo
