#include <rondo/base/log.h>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <mutex>

namespace rondo {

namespace {
struct Diary {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> logger;
};

Diary& diary() {
  static Diary* one =
      new Diary;  // lives until the process ends: threads may log while statics are destroyed
  return *one;
}

std::shared_ptr<spdlog::logger> make(const std::string& who) {
  auto logger =
      std::make_shared<spdlog::logger>(who, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%H:%M:%S.%e %L %n: %v");
  const char* level = std::getenv("RONDO_LOG");
  logger->set_level(spdlog::level::from_str(level != nullptr ? level : "warn"));
  logger->flush_on(spdlog::level::debug);
  return logger;
}
}  // namespace

void log_open(std::string_view who) {
  const std::lock_guard lock(diary().mutex);
  diary().logger = make(std::string(who));
}

void log(LogLevel level, std::string_view text) {
  std::shared_ptr<spdlog::logger> logger;
  {
    const std::lock_guard lock(diary().mutex);
    if (!diary().logger) diary().logger = make("rondo");
    logger = diary().logger;
  }
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  logger->log(kLevels[static_cast<int>(level)], "{}", text);
}

}  // namespace rondo
