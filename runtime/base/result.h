#pragma once

#include <optional>
#include <utility>
#include <variant>

#include <rondo/base/check.h>
#include <rondo/base/error.h>

// An expected failure is a value: Result<T> holds a T or an Error, and asks to be looked at.

namespace rondo {

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT: a value is a result
  Result(Error error) : state_(std::move(error)) {}  // NOLINT: an error is a result

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Requires: ok().
  T& value() & {
    RONDO_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    RONDO_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    RONDO_CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  // Requires: !ok().
  const Error& error() const {
    RONDO_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: an error is a result
  [[nodiscard]] bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    RONDO_CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace rondo
