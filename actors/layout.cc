#include <rondo/actors/layout.h>

#include <algorithm>

#include <rondo/base/check.h>

namespace rondo::actors {

Span part_of(int total, int parts, int index) {
  RONDO_CHECK_LE(parts, total);
  RONDO_CHECK_LT(index, parts);
  const int each = total / parts;
  const int larger = total % parts;
  return {index * each + std::min(index, larger), each + (index < larger ? 1 : 0)};
}

Span rows_of(const Layout& layout, int batch, int slice, int microbatch) {
  const Span rows = part_of(batch, layout.replicas, slice);
  const Span part = part_of(rows.count, layout.microbatches, microbatch);
  return {rows.first + part.first, part.count};
}

LayerRange layers_of(const Layout& layout, int layers, int stage) {
  const Span part = part_of(layers, layout.stages, stage);
  return {part.first, part.first + part.count};
}

std::vector<int> one_forward_one_backward(const Layout& layout, int stage) {
  const int warm = std::min(layout.microbatches, layout.stages - stage);
  std::vector<int> order;
  int forward = 0;
  for (; forward < warm; ++forward) order.push_back(forward + 1);
  for (int backward = 0; backward < layout.microbatches; ++backward) {
    order.push_back(-backward - 1);
    if (forward < layout.microbatches) order.push_back(++forward);
  }
  return order;
}

}  // namespace rondo::actors
