#pragma once

#include <rondo/client.h>
#include <rondo/signature.h>

// Bodies: user functions behind one erased type, so that the executor knows no user type. A body
// decodes its arguments, calls the function, and writes the result where the sink says. It throws
// what the user's code throws, and kInvalid for arguments that do not fit. One thread at a time
// runs a body; the argument views stay valid until it returns, so spans are read in place.
//
// Users do not call this.

namespace rondo::detail {

void check_count(const CallFrame& frame, std::size_t expected);   // throws kInvalid
const Session* session_of(const Context& context);

// Holds one decoded argument while the function runs.
template <class P>
class Argument {
 public:
  Argument(const ArgumentView& view, const Session* session)
      : value_(decode<travelling_t<P>>(view.bytes, view.refs, session)) {}
  P&& pass() { return static_cast<P&&>(value_); }

 private:
  travelling_t<P> value_;
};
template <class P>
  requires std::is_lvalue_reference_v<P> && (!is_const_span<std::remove_cvref_t<P>>)
class Argument<P> {
 public:
  Argument(const ArgumentView& view, const Session* session)
      : value_(decode<travelling_t<P>>(view.bytes, view.refs, session)) {}
  P pass() { return value_; }

 private:
  travelling_t<P> value_;
};

template <class P>
  requires is_const_span<std::remove_cvref_t<P>>
class Argument<P> {
 public:
  using T = std::remove_cv_t<typename std::remove_cvref_t<P>::element_type>;

  Argument(const ArgumentView& view, const Session* session) {
    if constexpr (is_flat<T>) {
      const ByteView bytes = flat_view<T>(view, session);
      if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) == 0) {
        span_ = {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
        return;
      }
    }
    copy_ = decode<std::vector<T>>(view.bytes, view.refs, session);
    span_ = copy_;
  }
  Argument(const Argument&) = delete;
  Argument& operator=(const Argument&) = delete;
  const std::span<const T>& pass() { return span_; }

 private:
  template <class E>
  static ByteView flat_view(const ArgumentView& view, const Session* session) {
    try {
      Reader in(view.bytes, view.refs, session);
      const ByteView bytes = read_flat<E>(in);
      if (in.remaining() != 0) Reader::fail("bytes are left over");
      return bytes;
    } catch (const Malformed& malformed) {
      throw_malformed(malformed.why, &type_name<std::vector<E>>);
    }
  }

  std::span<const T> span_;
  std::vector<T> copy_;
};

template <class R>
void write_result(CallFrame& frame, const R& value) {
  std::vector<CellRef> refs;
  Writer count(refs);
  Codec<R>::write(count, value);
  Writer out(frame.result.allocate(count.size(), std::move(refs)), 0);
  Codec<R>::write(out, value);
  out.finish();
}

// Calls `function` with the frame's arguments. The temporaries live until the result is written.
template <class R, class Function, class... P, std::size_t... I>
void run(CallFrame& frame, const Function& function, Parameters<P...>*, std::index_sequence<I...>) {
  check_count(frame, sizeof...(P));
  [[maybe_unused]] const Session* session = session_of(frame.context);
  if constexpr (std::is_void_v<R>) {
    function(Argument<P>(frame.arguments[I], session).pass()...);
    frame.result.allocate(0, {});
  } else {
    write_result<R>(frame, function(Argument<P>(frame.arguments[I], session).pass()...));
  }
}

template <class S, class Function>
void run(CallFrame& frame, const Function& function) {
  using Takes = typename S::Takes;
  run<typename S::Result>(frame, function, static_cast<Takes*>(nullptr),
                          std::make_index_sequence<Takes::kCount>());
}

// A function or member pointer, kept as bytes: so that one std::function type serves all of them.
struct FunctionBytes {
  std::uint64_t words[2] = {0, 0};
};
template <class Pointer>
FunctionBytes bytes_of_function(Pointer pointer) {
  static_assert(sizeof pointer <= sizeof(FunctionBytes));
  FunctionBytes bytes;
  std::memcpy(bytes.words, &pointer, sizeof pointer);
  return bytes;
}
template <class Pointer>
Pointer function_of_bytes(const FunctionBytes& bytes) {
  Pointer pointer;
  std::memcpy(&pointer, bytes.words, sizeof pointer);
  return pointer;
}
Body make_body(void (*run)(CallFrame&, const FunctionBytes&), const FunctionBytes& function);

template <class F>
void run_task(CallFrame& frame, const FunctionBytes& bytes) {
  using S = Signature<F>;
  F* const function = function_of_bytes<F*>(bytes);
  run<S>(frame, [&]<class... A>(A&&... argument) -> decltype(auto) {
    if constexpr (S::kContext) return function(frame.context, std::forward<A>(argument)...);
    else return function(std::forward<A>(argument)...);
  });
}

template <class T, class M, class C>
void run_method(CallFrame& frame, const FunctionBytes& bytes) {
  using S = Signature<M>;
  const auto method = function_of_bytes<M C::*>(bytes);
  T& object = *static_cast<T*>(frame.actor);
  run<S>(frame, [&]<class... A>(A&&... argument) -> decltype(auto) {
    if constexpr (S::kContext) return (object.*method)(frame.context, std::forward<A>(argument)...);
    else return (object.*method)(std::forward<A>(argument)...);
  });
}

template <class T, class... P, std::size_t... I>
std::shared_ptr<void> construct(CallFrame& frame, std::index_sequence<I...>) {
  check_count(frame, sizeof...(P));
  [[maybe_unused]] const Session* session = session_of(frame.context);
  if constexpr (std::is_constructible_v<T, P...>)
    return std::make_shared<T>(Argument<P>(frame.arguments[I], session).pass()...);
  else if constexpr (std::is_constructible_v<T, Context&, P...>)
    return std::make_shared<T>(frame.context, Argument<P>(frame.arguments[I], session).pass()...);
  else
    return std::shared_ptr<T>(new T{Argument<P>(frame.arguments[I], session).pass()...});
}
template <class T, class... P>
std::shared_ptr<void> run_constructor(CallFrame& frame) {
  return construct<T, P...>(frame, std::make_index_sequence<sizeof...(P)>());
}

}  // namespace rondo::detail
