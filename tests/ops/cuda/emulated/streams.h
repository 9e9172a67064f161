#pragma once

// Streams of the emulated device: lines of work that nobody has done yet.
//
// Nothing runs when it is put in line. It runs when somebody waits: a wait for a stream does that
// stream's work, and of others only what an event of theirs makes it wait for. So work is as late
// as the rules allow, and what forgets to wait for another stream reads what is not there yet, or
// writes what has not been read.
// Several host threads: work runs one piece at a time, but for foreign work (rondo_emulated_put),
// which has a thread of its own, since it may wait for other ranks. Capture belongs to the thread;
// its events are skipped, since what is captured is replayed in the order in which it came.

#include <functional>

#include "cuda_runtime.h"

namespace emulated {

// What waits for the device: here for all streams that this thread has made.
void finish_streams_of_this_thread();
bool is_capturing();

}  // namespace emulated

extern "C" {
// Work of another library on a stream.
void rondo_emulated_put(void* stream, void (*work)(void*), void* argument);
void rondo_emulated_look(void* stream);   // lets one piece of its work run
int rondo_emulated_device();              // the calling thread's
}
