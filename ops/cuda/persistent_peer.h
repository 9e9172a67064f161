#pragma once

// What both persistent kernels are made of: how operands travel and multiply, a warp's part of the
// weights, and a block among those of its group. What a warp multiplies is fixed by the layer's
// shape, so the order of every sum is too.

#include <rondo/ops/cuda/persistent.h>
#include <rondo/ops/cuda/ptx.h>

namespace rondo::ops::cuda {

inline constexpr int kWarps = kThreads / 32;

// How operands travel and multiply. A chunk of the depth is 64 bytes a row; lane 4g+t holds of it
// the 16 bytes from 16t on of row g: two fragments of b, one after the other.
struct InBf16 {
  using Element = __nv_bfloat16;
  using Left = uint4;
  using Right = uint2;
  static constexpr int kChunk = 32;
  static __device__ Element put(float v) { return __float2bfloat16(v); }
  static __device__ Left left(const uint4& a) { return a; }
  static __device__ Right right(std::uint32_t b0, std::uint32_t b1) { return make_uint2(b0, b1); }
  static __device__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    mma_bf16(d, a, b.x, b.y);
  }
};

struct InTf32 {
  using Element = float;
  using Left = uint4;
  using Right = uint2;
  static constexpr int kChunk = 16;
  static __device__ Element put(float v) { return __uint_as_float(to_tf32(v)); }
  static __device__ Left left(const uint4& a) { return a; }
  static __device__ Right right(std::uint32_t b0, std::uint32_t b1) { return make_uint2(b0, b1); }
  static __device__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    mma_tf32(d, a, b.x, b.y);
  }
};

// x = high + low, high cut to TF32; low is rounded by half a unit and cut by the product.
struct InFloat32 {
  using Element = float;
  struct Left {
    uint4 high, low;
  };
  struct Right {
    uint2 high, low;
  };
  static constexpr int kChunk = 16;
  static __device__ Element put(float v) { return v; }
  static __device__ std::uint32_t high(std::uint32_t x) { return cut_to_tf32(x); }
  static __device__ std::uint32_t low(std::uint32_t x, std::uint32_t high) {
    return __float_as_uint(__uint_as_float(x) - __uint_as_float(high)) + 0x1000U;
  }
  static __device__ Left left(const uint4& a) {
    const uint4 h = make_uint4(high(a.x), high(a.y), high(a.z), high(a.w));
    return {h, make_uint4(low(a.x, h.x), low(a.y, h.y), low(a.z, h.z), low(a.w, h.w))};
  }
  static __device__ Right right(std::uint32_t b0, std::uint32_t b1) {
    const uint2 h = make_uint2(high(b0), high(b1));
    return {h, make_uint2(low(b0, h.x), low(b1, h.y))};
  }
  static __device__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    mma_tf32(d, a.low, b.high.x, b.high.y);
    mma_tf32(d, a.high, b.low.x, b.low.y);
    mma_tf32(d, a.high, b.high.x, b.high.y);
  }
};

// A warp's part of a block's weights: as many chunks as 128 registers hold there, the rest in
// shared memory.
template <class M, int kMt, int kNt>
class Multiplier {
 public:
  static constexpr int kHeld = persistent_held(kMt);
  static constexpr int kStride = kMt * 16 + 4;   // of partial sums: no two lanes on one bank

  __device__ void load(const uint4* from, int chunks, uint4* shared) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j)
#pragma unroll
      for (int k = 0; k < kMt * 2; ++k)
        held_[j][k] = j < chunks ? from[(j * kMt * 2 + k) * 32] : make_uint4(0, 0, 0, 0);
    for (int i = 0; i < (chunks - kHeld) * kMt * 2; ++i)
      shared[i * 32] = from[(kHeld * kMt * 2 + i) * 32];
  }

  // partial [kNt·8][kStride] = weights · b over `chunks` chunks, b from the warp's first on.
  __device__ void run(const uint4* b, int chunks, const uint4* shared, float* partial) const {
    float sum[kMt][kNt][4] = {};
#pragma unroll
    for (int j = 0; j < kHeld; j += kBatch) {
      uint4 in[kBatch][kNt];
      fetch(in, b, j, chunks < kHeld ? chunks : kHeld);
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
        if (j + i < kHeld && j + i < chunks) add(sum, held_[j + i < kHeld ? j + i : 0], in[i]);
    }
    for (int j = kHeld; j < chunks; j += kBatch) {
      uint4 in[kBatch][kNt];
      fetch(in, b, j, chunks);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (j + i >= chunks) break;
        uint4 w[kMt * 2];
#pragma unroll
        for (int k = 0; k < kMt * 2; ++k) w[k] = shared[((j + i - kHeld) * kMt * 2 + k) * 32];
        add(sum, w, in[i]);
      }
    }
    put(sum, partial);
  }

 private:
  static constexpr int kInFlight = kNt == 1 ? 8 : 3;   // loads of a lane and tile
  static constexpr int kBatch = kHeld < kInFlight ? kHeld : kInFlight;

  static __device__ void fetch(uint4 (&in)[kBatch][kNt], const uint4* b, int j, int last) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i)
#pragma unroll
      for (int n = 0; n < kNt; ++n)
        if (j + i < last) in[i][n] = load_shared_by_blocks(b + ((j + i) * kNt + n) * 32);
  }
  static __device__ void add(float (&sum)[kMt][kNt][4], const uint4 (&w)[kMt * 2],
                             const uint4 (&in)[kNt]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      typename M::Right right[kNt];
#pragma unroll
      for (int n = 0; n < kNt; ++n)
        right[n] = half == 0 ? M::right(in[n].x, in[n].y) : M::right(in[n].z, in[n].w);
#pragma unroll
      for (int m = 0; m < kMt; ++m) {
        const typename M::Left left = M::left(w[m * 2 + half]);
#pragma unroll
        for (int n = 0; n < kNt; ++n) M::multiply(sum[m][n], left, right[n]);
      }
    }
  }
  static __device__ void put(const float (&sum)[kMt][kNt][4], float* partial) {
    const int g = static_cast<int>(threadIdx.x % 32) / 4, t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int m = 0; m < kMt; ++m)
#pragma unroll
      for (int n = 0; n < kNt; ++n)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          partial[(n * 8 + 2 * t + k % 2) * kStride + m * 16 + g + k / 2 * 8] = sum[m][n][k];
  }

  uint4 held_[kHeld][kMt * 2];
};

// A block among those of its group. kRows: groups of `kUnits` rows in its product; kSent: values
// that a unit sends.
template <class M, int kUnits, int kRows, int kSent, int kNt>
class Peer {
 public:
  static constexpr int kMt = kUnits * kRows / 16;
  using Product = Multiplier<M, kMt, kNt>;
  static constexpr int kSequences = 8 * kNt;   // of a slab
  static constexpr int kItems = (kUnits * kSequences + kThreads - 1) / kThreads;   // of a thread

  __device__ explicit Peer(const PersistentLink& link)
      : link_(link), block_(static_cast<int>(blockIdx.x) % link.blocks),
        group_(static_cast<int>(blockIdx.x) / link.blocks), chunk_(warp() * link.warp_chunks),
        chunks_(max(0, min(link.warp_chunks, link.chunks - chunk_))),
        broken_(reinterpret_cast<int*>(dynamic_shared())),
        partial_(reinterpret_cast<float*>(dynamic_shared() + 128)) {
    uint4* rest = reinterpret_cast<uint4*>(partial_ + kWarps * kSequences * Product::kStride);
    const int kept = max(0, link.warp_chunks - Product::kHeld) * kMt * 2 * 32;   // of a warp
    shared_ = rest + warp() * kept + lane();
    carried_ = reinterpret_cast<float*>(rest + kWarps * kept);
    product_.load(link.weights + (static_cast<Size>(block_) * kWarps + warp()) *
                                     link.warp_chunks * kMt * 2 * 32 + lane(),
                  chunks_, shared_);
    if (chunks_ == 0)   // a warp without a part of the depth adds zeros
      for (int i = lane(); i < kSequences * Product::kStride; i += 32)
        partial_[warp() * kSequences * Product::kStride + i] = 0;
    if (threadIdx.x == 0) *broken_ = 0;
    __syncthreads();
  }

  [[nodiscard]] __device__ int unit(int index) const { return block_ * kUnits + index % kUnits; }
  [[nodiscard]] __device__ int sequence(int slab, int index) const {
    return (group_ * link_.slabs + slab) * kSequences + index / kUnits;
  }
  [[nodiscard]] __device__ static int index(int item) {
    return static_cast<int>(threadIdx.x) + item * kThreads;
  }
  [[nodiscard]] __device__ static bool exists(int index) { return index < kUnits * kSequences; }
  // A number that stays with the thread that works on `index` from turn to turn.
  [[nodiscard]] __device__ float& carried(int which, int slab, int index) const {
    return carried_[(which * link_.slabs + slab) * kUnits * kSequences + index];
  }

  // Waits for what was sent in `turn` and multiplies. False: the block gives up, all of it.
  [[nodiscard]] __device__ bool gather(int slab, std::uint32_t turn) {
    if (chunks_ > 0) {
      if (await(flags(slab), turn + 1)) {
        product_.run(box(slab, turn) + chunk_ * kNt * 32 + lane(), chunks_, shared_,
                     partial_ + warp() * kSequences * Product::kStride);
      } else if (lane() == 0) {
        *broken_ = 1;
      }
    }
    __syncthreads();
    return *broken_ == 0;
  }
  // After gather: row `row` of kRows for what `index` works on; the warps' parts as a tree.
  [[nodiscard]] __device__ float sum(int row, int index) const {
    const float* at = partial_ + index / kUnits * Product::kStride + row * kUnits + index % kUnits;
    float part[kWarps];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) part[w] = at[w * kSequences * Product::kStride];
#pragma unroll
    for (int d = 1; d < kWarps; d *= 2)
#pragma unroll
      for (int w = 0; w < kWarps; w += 2 * d) part[w] += part[w + d];
    return part[0];
  }
  __device__ void send(int slab, std::uint32_t turn, int index, int which, float v) const {
    const int depth = (block_ * kSent + which) * kUnits + index % kUnits;
    const int n = index / kUnits;
    auto* to = reinterpret_cast<typename M::Element*>(box(slab, turn));
    to[((depth / M::kChunk * kNt + n / 8) * 8 + n % 8) * M::kChunk + depth % M::kChunk] =
        M::put(v);
  }
  // All of the block has sent and has read its sums.
  __device__ void publish(int slab, std::uint32_t turn) const {
    __syncthreads();
    if (threadIdx.x == 0) store_release(flags(slab) + block_, turn + 1);
  }

 private:
  static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
  static __device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  [[nodiscard]] __device__ Size place(int slab) const { return group_ * link_.slabs + slab; }
  [[nodiscard]] __device__ std::uint32_t* flags(int slab) const {
    return link_.flags + place(slab) * kPersistentFlags;
  }
  [[nodiscard]] __device__ uint4* box(int slab, std::uint32_t turn) const {
    return link_.mail + (place(slab) * 2 + turn % 2) * link_.chunks * kNt * 32;
  }

  // Lane i watches the flag of the i-th block whose values this warp needs.
  [[nodiscard]] __device__ bool await(const std::uint32_t* flags, std::uint32_t turns) const {
    constexpr int kDepth = kUnits * kSent;   // of a block
    const int mine = chunk_ * M::kChunk / kDepth + lane();
    const int last = ((chunk_ + chunks_) * M::kChunk - 1) / kDepth;
    const bool watching = mine <= last && mine < link_.blocks;
    std::uint64_t begun = 0;
    for (unsigned tries = 1;; ++tries) {
      const bool there = !watching || load_acquire(flags + mine) >= turns;
      if (__all_sync(0xffffffffU, there)) {
        __syncwarp();   // a vote orders no memory: now what one lane has acquired holds for all
        return true;
      }
      if (tries % 256 != 0) continue;
      rest();
      if (begun == 0) begun = nanoseconds();
      const bool late =
          load_system(link_.stalled) != 0 || nanoseconds() - begun > link_.patience_ns;
      if (!__any_sync(0xffffffffU, late)) continue;
      if (lane() == 0) store_system(link_.stalled, 1);
      return false;
    }
  }

  const PersistentLink& link_;
  const int block_, group_;
  const int chunk_, chunks_;   // this warp's
  int* const broken_;
  float* const partial_;       // [kWarps][kSequences][kStride]
  uint4* shared_;
  float* carried_;
  Product product_;
};

}  // namespace rondo::ops::cuda
