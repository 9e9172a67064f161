#include <rondo/actors/collective/rank_tree.h>

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <rondo/base/check.h>

namespace rondo::collective {

namespace {

constexpr std::size_t kBlockBytes = 4096;   // stays in the first cache, once a level of the tree

template <class T>
struct Sum {
  static T of(T a, T b) { return a + b; }
};
template <class T>
struct Max {
  static T of(T a, T b) { return a > b || a != a ? a : b; }
};

template <class T, class F>
[[gnu::always_inline]] inline void each(const T* a, const T* b, std::size_t count, T* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = F::of(a[i], b[i]);
}

using Pairwise = void (*)(const void*, const void*, std::size_t, void*);

template <class T, class F>
void plain(const void* a, const void* b, std::size_t count, void* out) {
  each<T, F>(static_cast<const T*>(a), static_cast<const T*>(b), count, static_cast<T*>(out));
}

#if defined(__x86_64__)
// The same elements in wider registers: an addition has the same bits in each.
template <class T, class F>
[[gnu::target("avx2")]] void wide(const void* a, const void* b, std::size_t count, void* out) {
  each<T, F>(static_cast<const T*>(a), static_cast<const T*>(b), count, static_cast<T*>(out));
}
template <class T, class F>
Pairwise widest() {
  return __builtin_cpu_supports("avx2") != 0 ? wide<T, F> : plain<T, F>;
}
#else
template <class T, class F>
Pairwise widest() {
  return plain<T, F>;
}
#endif

Pairwise pairwise(Arithmetic arithmetic) {
  const bool sum = arithmetic.combine == Combine::kSum;
  if (arithmetic.dtype == Dtype::kFloat32)
    return sum ? widest<float, Sum<float>>() : widest<float, Max<float>>();
  return sum ? widest<double, Sum<double>>() : widest<double, Max<double>>();
}

// Requires: `to` is aligned to 16; bytes are whole elements.
void copy_past_cache(std::byte* to, const std::byte* from, std::size_t bytes) {
#if defined(__x86_64__)
  const std::size_t whole = bytes / 64 * 64;
  for (std::size_t at = 0; at < whole; at += 64)
    for (std::size_t k = at; k < at + 64; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + k),
                       _mm_load_si128(reinterpret_cast<const __m128i*>(from + k)));
  std::memcpy(to + whole, from + whole, bytes - whole);
#else
  std::memcpy(to, from, bytes);
#endif
}

// One block of a node, in `into` or where it already lies.
struct Walk {
  Pairwise pair;
  std::size_t element;
  const Known& known;

  const void* block(Node node, std::size_t begin, std::size_t count, void* into) const {
    if (const void* there = known(node); there != nullptr)
      return static_cast<const std::byte*>(there) + begin * element;
    RONDO_CHECK(!node.is_leaf());
    alignas(64) std::byte spare[kBlockBytes];
    const void* left = block(node.left(), begin, count, into);
    const void* right = block(node.right(), begin, count, spare);
    pair(left, right, count, into);
    return into;
  }
};

}  // namespace

Node Node::left() const {
  const auto half = static_cast<int>(std::bit_ceil(static_cast<unsigned>(hi - lo)) / 2);
  return {lo, lo + half};
}
Node Node::right() const { return {left().hi, hi}; }

std::vector<Node> covered(int size, Ranks met) {
  std::vector<Node> found;
  std::vector<Node> open = {{0, size}};
  while (!open.empty()) {
    const Node node = open.back();
    open.pop_back();
    const Ranks all = (node.hi - node.lo == 64 ? ~Ranks{0} : (Ranks{1} << (node.hi - node.lo)) - 1)
                      << node.lo;
    if ((met & all) == all) {
      found.push_back(node);
    } else if ((met & all) != 0) {
      open.push_back(node.right());
      open.push_back(node.left());
    }
  }
  return found;
}

void combine_node(Arithmetic arithmetic, Node node, const Known& known, Stretch stretch,
                  void* out) {
  const std::size_t element = size_of(arithmetic.dtype);
  const Walk walk{pairwise(arithmetic), element, known};
  auto* to = static_cast<std::byte*>(out);
  const bool around = stretch.past_cache && reinterpret_cast<std::uintptr_t>(to) % 16 == 0;
  alignas(64) std::byte spare[kBlockBytes];
  const std::size_t step = kBlockBytes / element;
  for (std::size_t done = 0; done < stretch.count; done += step) {
    const std::size_t count = std::min(step, stretch.count - done);
    std::byte* here = to + done * element;
    std::byte* into = around ? spare : here;
    const void* value = walk.block(node, stretch.begin + done, count, into);
    if (value != into) std::memmove(into, value, count * element);
    if (around) copy_past_cache(here, spare, count * element);
  }
#if defined(__x86_64__)
  if (around) _mm_sfence();
#endif
}

void combine_parts(Arithmetic arithmetic, std::span<const void* const> parts, Stretch stretch,
                   void* out) {
  if (parts.size() == 2 && !stretch.past_cache) {
    const std::size_t at = stretch.begin * size_of(arithmetic.dtype);
    combine_two(arithmetic, static_cast<const std::byte*>(parts[0]) + at,
                static_cast<const std::byte*>(parts[1]) + at, stretch.count, out);
    return;
  }
  const Known known = [&](Node node) {
    return node.is_leaf() ? parts[static_cast<std::size_t>(node.lo)] : nullptr;
  };
  combine_node(arithmetic, {0, static_cast<int>(parts.size())}, known, stretch, out);
}

void combine_two(Arithmetic arithmetic, const void* left, const void* right, std::size_t count,
                 void* out) {
  pairwise(arithmetic)(left, right, count, out);
}

}  // namespace rondo::collective
