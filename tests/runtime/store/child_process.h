#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <utility>

// Runs `body` in a process of its own (a fork) and answers its exit code, or -signal. The body must
// not use gtest: it answers with a number, and ends without destructors.

template <class Body>
int in_child_process(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
