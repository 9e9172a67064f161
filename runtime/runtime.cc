#include <rondo/runtime.h>

#include <atomic>

namespace rondo {

namespace {
std::atomic<bool> one_lives{false};
}  // namespace

namespace detail {

RuntimeParts::RuntimeParts(int& argc, char** argv, const Registry& registry) {
  if (one_lives.exchange(true))
    throw Error(ErrorCode::kInvalid,
                "a second Runtime in this process: one lives already, use it or destroy it first");
  try {
    registry.freeze();
    engine = start_engine(argc, argv, registry);
    session_ptr = &open_session(engine->client(), registry.entries());
  } catch (...) {
    engine.reset();
    one_lives.store(false);
    throw;
  }
}

RuntimeParts::~RuntimeParts() {
  close_session(*session_ptr);
  engine.reset();
  one_lives.store(false);
}

}  // namespace detail

void serve_if_worker(int& argc, char** argv, const Registry& registry) {
  registry.freeze();
  detail::serve_if_worker(argc, argv, registry);
}

}  // namespace rondo
