#pragma once

#include <cstddef>

// What the library that stands in for NCCL has beside NCCL's entry points: its streams. A stream
// is a thread that runs what is put in line; NCCL's calls and a test's own work share it. Where
// RONDO_CUDA_MODULE names the emulated device, streams are that one's.
//
// The library reduces for real, on the CPU, between ranks that are threads or processes of one
// machine (fake_nccl_group.h). Two ranks on one emulated device are refused, as by NCCL.
// RONDO_FAKE_NCCL, read when a communicator is made, injects a fault:
//   init-hang:R  init-error:R  hang:R:N  error:R:N     rank R, at its Nth call (from 1)
//   abort-hang:R                                       rank R, in ncclCommAbort
//   id-error                                           the next ids, whenever asked
//   version:V                                          what ncclGetVersion says, whenever asked

extern "C" {
void* rondo_fake_stream_open();
void rondo_fake_stream_close(void* stream);
void rondo_fake_stream_put(void* stream, void (*work)(void*), void* argument);
int rondo_fake_stream_idle(void* stream);
int rondo_fake_hanging();         // calls that an injected hang holds now
int rondo_fake_communicators();   // that have been made and not ended
}
