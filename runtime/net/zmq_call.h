#pragma once

#include <initializer_list>

#include <zmq.h>

#include <rondo/base/check.h>

// How libzmq's C calls are checked: an error that is not expected is a bug of ours and aborts.
// Any thread that may make the call itself.

namespace rondo::net {

// 0: done; an expected errno is returned.
inline int check_zmq(int rc, const char* call, std::initializer_list<int> expected = {}) {
  if (rc != -1) return 0;
  const int error = zmq_errno();
  for (const int one : expected)
    if (error == one) return error;
  detail::check_failed(__FILE__, __LINE__, call, zmq_strerror(error));
}

inline void set_zmq(void* socket, int option, int value) {
  check_zmq(zmq_setsockopt(socket, option, &value, sizeof(value)), "zmq_setsockopt");
}

}  // namespace rondo::net
