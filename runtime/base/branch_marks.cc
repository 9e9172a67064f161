#include <rondo/base/branch_marks.h>

namespace rondo {

namespace {
thread_local MarkSheet* sheet = nullptr;
constexpr const char* kNames[] = {
#define RONDO_BRANCH(name) #name,
    RONDO_BRANCHES(RONDO_BRANCH)
#undef RONDO_BRANCH
};
}  // namespace

const char* name_of(Branch branch) { return kNames[static_cast<std::size_t>(branch)]; }

void hit(Branch branch) {
  if (sheet != nullptr) ++sheet->hits_[static_cast<std::size_t>(branch)];
}

MarkSheet::MarkSheet() : below_(sheet) { sheet = this; }
MarkSheet::~MarkSheet() { sheet = below_; }

}  // namespace rondo
