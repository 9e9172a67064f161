#pragma once

// The entries that the kernels' files define, for the table in module.cu; entries.h says what each
// does.

#include <rondo/ops/cuda/entries.h>

namespace rondo::ops::cuda {

Fault allocate(Context*, std::size_t bytes, void** out);
Fault bus_id(Context*, char* text, std::size_t bytes);
Fault note(Context*, std::uint64_t* number);
Fault wait_for_note(Context*, std::uint64_t number);
Fault stream(Context*, void** out);
Fault idle(Context*, int* out);
Fault allocate_host(Context*, std::size_t bytes, void** out);
Fault release_host(Context*, void*);
Fault copy_out_later(Context*, void* to, const void* from, std::size_t bytes);
Fault copies_begun(Context*, std::uint64_t* number);
Fault wait_for_copy(Context*, std::uint64_t number);
Fault after_copies(Context*);
Fault allocate_named(Context*, std::size_t bytes, void** out, MemoryName*);
Fault open_named(Context*, const MemoryName*, void** out);
Fault close_named(Context*, void*);
Fault combine(Context*, const Combine*);
Fault add(Context*, const float* a, const float* b, Size count, float* out);
Fault scale(Context*, const float* a, float factor, Size count, float* out);
Fault clip_value(Context*, const float* a, float limit, Size count, float* out);
Fault squared_norm(Context*, const float* x, Size count, double* sum, int add);
Fault clip_norm(Context*, const float* a, const double* squared_norm, double limit, Size count,
                float* out);
Fault not_finite(Context*, const float* x, Size count, Size* first);
Fault to_bf16(Context*, const float* x, Size count, void* out);
Fault copy_columns(Context*, const CopyColumns*);
Fault transpose_rows(Context*, const float* from, Size rows, Size columns, float* to);
Fault optimizer_step(Context*, const OptimizerStep*);
Fault cross_entropy(Context*, const CrossEntropy*);
Fault squared_error(Context*, const float* y, const float* target, Size count, float scale,
                    float* dy, double* sum);
Fault softmax(Context*, const float* x, Size rows, Size columns, float temperature, float* y);
Fault layer_norm(Context*, const LayerNorm*);
Fault layer_norm_backward(Context*, const LayerNormBackward*);
Fault dropout(Context*, const Dropout*);
Fault embedding(Context*, const Embedding*);
Fault add_bias(Context*, float* x, const float* bias, Size rows, Size columns);
Fault scan(Context*, const Scan*);
Fault scan_backward(Context*, const Scan*);
Fault layer_open(Context*, const LayerSpec*, Layer** out);
Fault layer_plan(Context*, const LayerSpec*, Size batch, LayerPlan*);
void layer_close(Layer*);
Fault layer_pack(Layer*, const LayerWeights*);
Fault activations_open(Layer*, const Sequences*, Activations** out);
void activations_close(Activations*);
Fault activations_y(Activations*, const float** y);
Fault layer_forward(Layer*, Activations*, const LayerForward*);
Fault layer_backward(Layer*, Activations*, const LayerBackward*);

}  // namespace rondo::ops::cuda
