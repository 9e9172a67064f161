#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// How a rank of the library that stands in for NCCL reaches the others, threads of this process or
// other processes: abstract sockets, named by the group's id and the rank. They leave no file and
// end with their process.
//
// Letters from one rank to another arrive in order. As with NCCL nobody is told that a rank has
// died: who sends to it or waits for it does so until end().

class FakeGroup {
 public:
  // `device`: what this rank computes on; -1: nobody knows.
  FakeGroup(std::string id, int rank, int size, int device);
  ~FakeGroup();
  FakeGroup(const FakeGroup&) = delete;
  FakeGroup& operator=(const FakeGroup&) = delete;

  [[nodiscard]] bool all_here();
  // Another rank is on this rank's device.
  [[nodiscard]] bool shares_its_device();
  void post(int to, std::vector<char> letter);
  std::vector<char> fetch(int from);   // empty: ended
  void wait_for_end();
  void end();   // any thread; all of the above return
  [[nodiscard]] bool is_ended();

 private:
  void run();
  void reach(int rank);
  void read_from(int socket);
  bool take_letter(int socket);

  const std::string id_;
  const int rank_, size_, device_;
  std::mutex mutex_;
  std::condition_variable bell_;
  bool ended_ = false;                               // guarded by mutex_, as those below
  std::map<int, std::deque<std::vector<char>>> letters_;   // by sender
  std::map<int, int> devices_;                       // of those who have said hello
  std::map<int, int> to_;                            // sockets to write to, by rank
  std::vector<int> from_;                            // sockets to read from
  int door_ = -1, wake_ = -1;
  std::thread thread_;
};
