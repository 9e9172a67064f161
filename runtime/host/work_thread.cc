#include <rondo/host/work_thread.h>

#include <pthread.h>

#include <utility>

#include <rondo/host/daemon_loop.h>

namespace rondo::host {

WorkThread::WorkThread(const std::string& name) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { loop(); });
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

WorkThread::~WorkThread() { finish(); }

void WorkThread::finish() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  filled_.notify_one();
  thread_.join();
}

void WorkThread::run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  filled_.notify_one();
}

bool WorkThread::idle() const {
  const std::lock_guard lock(mutex_);
  return !busy_ && tasks_.empty();
}

void WorkThread::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    filled_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
    if (ending_) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    busy_ = true;
    lock.unlock();
    task();
    lock.lock();
    busy_ = false;
  }
}

}  // namespace rondo::host
