#include <rondo/actors/out_folder.h>

#include <filesystem>

#include <unistd.h>

#include <rondo/actors/safetensors.h>

namespace rondo::actors {

namespace {

namespace fs = std::filesystem;

void remove_unfinished(const std::string& folder) {
  for (const char* name : {"last.safetensors", "best.safetensors", "curve.csv", "curve.svg"})
    ::unlink(unfinished_name(folder + "/" + name).c_str());
}

bool holds(const std::string& folder, const char* name) {
  std::error_code error;
  return fs::exists(folder + "/" + name, error);
}

}  // namespace

Result<void> OutFolder::make(const std::string& path) {
  const std::lock_guard lock(mutex_);
  path_ = path;
  std::error_code error;
  fs::path folder = fs::absolute(path, error).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // "out/"
  for (; !folder.empty() && folder != folder.root_path() && !fs::exists(folder, error);
       folder = folder.parent_path())
    made_.push_back(folder.string());
  fs::create_directories(path, error);
  if (error)
    return Error(ErrorCode::kUnavailable,
                 "cannot make folder '" + path + "': " + error.message());
  remove_unfinished(path);
  had_curve_ = holds(path, "curve.csv");
  return {};
}

void OutFolder::leave() {
  const std::lock_guard lock(mutex_);
  remove_what_is_useless();
}

void OutFolder::leave_for_good() {
  mutex_.lock();
  remove_what_is_useless();
}

void OutFolder::remove_what_is_useless() {
  if (path_.empty()) return;
  remove_unfinished(path_);
  if (!had_curve_ && !holds(path_, "last.safetensors") && !holds(path_, "best.safetensors"))
    for (const char* name : {"/curve.csv", "/curve.svg"}) ::unlink((path_ + name).c_str());
  for (const std::string& folder : made_)
    if (::rmdir(folder.c_str()) != 0) break;  // something is in it
  made_.clear();
}

}  // namespace rondo::actors
