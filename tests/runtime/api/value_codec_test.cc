#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include <rondo/actor.h>
#include <rondo/base/prng.h>
#include <rondo/value/containers.h>

namespace rondo {
namespace {

struct Empty {
  bool operator==(const Empty&) const = default;
};
struct Point {
  int x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
};
struct Arrays {
  int before = 0;
  float flat[3] = {};
  Point points[2] = {};
  bool grid[2][3] = {};
  std::string words[2];
  char tag = 0;
  bool operator==(const Arrays&) const = default;
};
struct Tree {
  int value = 0;
  std::vector<Tree> children;
  bool operator==(const Tree&) const = default;
};
struct Wide {
  int a1 = 1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16;
  long a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31;
  std::string a32;
  bool operator==(const Wide&) const = default;
};
enum class Colour : std::uint8_t { kRed, kGreen };
enum class Switch : bool { kOff, kOn };
struct Everything {
  std::optional<Point> maybe;
  std::variant<int, std::string, Tree> either;
  std::array<std::string, 2> names;
  std::pair<Colour, Switch> pair;
  std::vector<Empty> nothings;
  Empty nothing;
  std::chrono::milliseconds delay{};
  bool operator==(const Everything&) const = default;
};
class Money {
 public:
  explicit Money(std::int64_t cents) : cents_(cents) {}
  [[nodiscard]] std::int64_t cents() const { return cents_; }
  bool operator==(const Money&) const = default;

 private:
  std::int64_t cents_;
};
}  // namespace

template <>
struct Codec<Money> {
  static void write(Writer& out, const Money& money) { out.put(money.cents()); }
  static Money read(Reader& in) { return Money(in.get<std::int64_t>()); }
};

namespace {

static_assert(detail::field_count<Empty>() == 0);
static_assert(detail::field_count<Point>() == 2);
static_assert(detail::field_count<Arrays>() == 6);
static_assert(detail::field_count<Tree>() == 2);
static_assert(detail::field_count<Wide>() == 32);
static_assert(detail::field_count<Everything>() == 7);

struct Encoded {
  Bytes bytes;
  std::vector<CellRef> refs;
};
template <class T>
Encoded encode(const T& value) {
  Encoded out;
  Writer count(out.refs);
  Codec<T>::write(count, value);
  out.bytes.resize(count.size());
  Writer writer(std::span<std::byte>(out.bytes), 0);
  Codec<T>::write(writer, value);
  writer.finish();
  return out;
}
template <class T>
T decode(const Bytes& bytes) {
  return detail::decode<T>(Buffer(share(bytes)), {}, nullptr);
}
template <class T>
void round_trip(const T& value) {
  const Encoded encoded = encode(value);
  EXPECT_GE(encoded.bytes.size(), 1U);
  EXPECT_TRUE(decode<T>(encoded.bytes) == value) << detail::type_name<T>();
}
template <class T>
std::string invalid_text(const Bytes& bytes) {
  try {
    static_cast<void>(decode<T>(bytes));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalid);
    return error.what();
  }
  return "no error";
}

Everything everything() {
  return {Point{3, 4.5},
          Tree{1, {{2, {}}, {3, {{4, {}}}}}},
          {"a", std::string(100, 'b')},
          {Colour::kGreen, Switch::kOn},
          {{}, {}, {}},
          {},
          std::chrono::milliseconds(250)};
}

TEST(Codec, ScalarsComeBack) {
  round_trip(true);
  round_trip('x');
  round_trip<std::int8_t>(-3);
  round_trip<std::uint64_t>(UINT64_MAX);
  round_trip(1.5F);
  round_trip(-0.1);
  round_trip(1.25L);
  round_trip(Colour::kGreen);
  round_trip(Switch::kOn);
  round_trip(std::byte{7});
  round_trip(std::string("with \0 inside", 13));
  round_trip(std::u16string(u"wide"));
}

TEST(Codec, ContainersComeBack) {
  round_trip(std::vector<double>{});
  round_trip(std::vector<double>{1, 2, 3});
  round_trip(std::vector<bool>{true, false, true, true, false, false, true, false, true});
  round_trip(std::vector<std::vector<std::string>>{{"a"}, {}, {"b", "c"}});
  round_trip(std::array<std::int16_t, 3>{1, 2, 3});
  round_trip(std::array<std::string, 2>{"a", "b"});
  round_trip(std::array<int, 0>{});
  round_trip(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {2, 3}}});
  round_trip(std::multimap<int, int>{{1, 1}, {1, 2}});
  round_trip(std::set<std::string>{"b", "a"});
  round_trip(std::unordered_map<int, std::string>{{1, "x"}, {2, "y"}});
  round_trip(std::unordered_set<std::string>{"a", "b"});
}

TEST(Codec, VocabularyTypesComeBack) {
  round_trip(std::pair<int, std::string>{1, "a"});
  round_trip(std::tuple<>{});
  round_trip(std::tuple<int, std::string, Point>{1, "a", {2, 3}});
  round_trip(std::optional<std::string>{});
  round_trip(std::optional<std::string>{"a"});
  round_trip(std::variant<std::monostate, int, std::string>{});
  round_trip(std::variant<std::monostate, int, std::string>{"text"});
  round_trip(std::chrono::nanoseconds(5));
  round_trip(std::chrono::system_clock::time_point(std::chrono::seconds(1'000'000'000)));
}

TEST(Codec, PlainAggregatesComeBackWithoutAMacro) {
  round_trip(Empty{});
  round_trip(Point{1, 2});
  round_trip(Arrays{1, {1, 2, 3}, {{1, 2}, {3, 4}}, {{true, false, true}, {}}, {"a", "b"}, 'z'});
  round_trip(Tree{1, {{2, {{3, {}}}}, {4, {}}}});
  Wide wide{};
  wide.a31 = 31;
  wide.a32 = "last";
  round_trip(wide);
  round_trip(everything());
}

TEST(Codec, SpecialisationsAndBuffersComeBack) {
  round_trip(Money(1995));
  round_trip(std::vector<Money>{Money(1), Money(2)});
  const Buffer buffer(share(Bytes(100, std::byte{9})));
  const Bytes bytes = encode(std::pair<int, Buffer>{1, buffer}).bytes;
  const auto owner = share(bytes);
  const auto back = detail::decode<std::pair<int, Buffer>>(Buffer(owner), {}, nullptr);
  EXPECT_TRUE(std::ranges::equal(back.second.view(), buffer.view()));
  EXPECT_GE(back.second.view().data(), owner->data());   // in place
  EXPECT_LT(back.second.view().data(), owner->data() + owner->size());
}

TEST(Codec, NumbersLieAlignedInsideTheValue) {
  using Value = std::tuple<char, std::vector<double>, char, std::vector<float>>;
  const Bytes bytes = encode(Value{'a', {1, 2}, 'b', {3}}).bytes;
  double first = 0;
  std::memcpy(&first, bytes.data() + 16, sizeof first);   // 1 + 8 of count, up to 16
  EXPECT_EQ(first, 1.0);
  float second = 0;
  std::memcpy(&second, bytes.data() + 48, sizeof second);   // 32 + 1 + 8, up to 48
  EXPECT_EQ(second, 3.0F);
}

TEST(Codec, NamesAreStructural) {
  EXPECT_EQ(detail::type_name<int>(), "i32");
  EXPECT_EQ(detail::type_name<long>(), detail::type_name<long long>());
  EXPECT_EQ(detail::type_name<std::vector<double>>(), "vector<f64>");
  EXPECT_EQ((detail::type_name<std::map<std::string, bool>>()), "map<string,bool>");
  EXPECT_EQ(detail::type_name<Point>(), "{i32,f64}");
  EXPECT_EQ(detail::type_name<Tree>(), "{i32,vector<^1>}");
  EXPECT_EQ(detail::type_name<Ref<Point>>(), "ref<{i32,f64}>");
  EXPECT_EQ(detail::type_name<Colour>(), "enum u8");
  EXPECT_EQ(detail::type_name<Arrays>(),
            "{i32,array<f32,3>,array<{i32,f64},2>,array<array<bool,3>,2>,array<string,2>,char}");
}

TEST(Codec, BytesThatEndEarlyAreInvalidAndNameTheType) {
  const Bytes whole = encode(everything()).bytes;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const std::string text = invalid_text<Everything>(Bytes(whole.begin(), whole.begin() + n));
    EXPECT_NE(text.find("these bytes are no {optional<{i32,f64}>,"), std::string::npos)
        << n << text;
  }
  Bytes longer = whole;
  longer.push_back({});
  EXPECT_NE(invalid_text<Everything>(longer).find("left over"), std::string::npos);
}

TEST(Codec, LengthsAreCheckedBeforeMemoryIsTaken) {
  for (const std::uint64_t n : {std::uint64_t{129}, std::uint64_t{1} << 40, UINT64_MAX}) {
    Bytes bytes(24);
    std::memcpy(bytes.data(), &n, sizeof n);
    EXPECT_NE(invalid_text<std::string>(bytes).find("length"), std::string::npos);
    EXPECT_NE(invalid_text<std::vector<double>>(bytes).find("length"), std::string::npos);
    EXPECT_NE(invalid_text<std::vector<std::string>>(bytes).find("length"), std::string::npos);
    EXPECT_NE(invalid_text<std::vector<Empty>>(bytes).find("length"), std::string::npos);
    EXPECT_NE((invalid_text<std::map<int, int>>(bytes).find("length")), std::string::npos);
    const std::string bits = invalid_text<std::vector<bool>>(bytes);
    EXPECT_EQ(bits.find("length") != std::string::npos, n > 128) << bits;
  }
}

TEST(Codec, WrongFlagsAndIndicesAreInvalid) {
  EXPECT_NE(invalid_text<bool>({std::byte{2}}).find("neither 0 nor 1"), std::string::npos);
  EXPECT_NE(invalid_text<Switch>({std::byte{9}}).find("neither 0 nor 1"), std::string::npos);
  EXPECT_NE(invalid_text<std::optional<int>>({std::byte{2}}).find("optional<i32>"),
            std::string::npos);
  const Bytes five = encode(std::uint32_t{5}).bytes;
  EXPECT_NE((invalid_text<std::variant<int, bool>>(five).find("index")), std::string::npos);
  EXPECT_NE(invalid_text<Ref<int>>(five).find("ref's number"), std::string::npos);
}

TEST(Codec, NestingIsBounded) {
  Bytes bytes;   // a tree with one child, with one child, ...
  for (int i = 0; i < 100'000; ++i) {
    const Bytes value = encode(i).bytes;
    const Bytes one = encode(std::uint64_t{1}).bytes;
    bytes.insert(bytes.end(), value.begin(), value.end());
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  EXPECT_NE(invalid_text<Tree>(bytes).find("too deep"), std::string::npos);
}

TEST(Codec, DamagedBytesAreReadOrRefusedNeverWorse) {
  const Bytes whole = encode(everything()).bytes;
  Prng prng(7);
  for (int i = 0; i < 20'000; ++i) {
    Bytes bytes = whole;
    for (std::uint64_t n = 1 + prng.below(4); n > 0; --n)
      bytes[prng.below(bytes.size())] = static_cast<std::byte>(prng.below(256));
    try {
      static_cast<void>(decode<Everything>(bytes));
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kInvalid);
    }
  }
}

TEST(Codec, AValueThatChangesBetweenThePassesIsRefused) {
  std::vector<CellRef> refs;
  std::vector<int> value{1, 2};
  Writer count(refs);
  Codec<std::vector<int>>::write(count, value);
  Bytes bytes(count.size());
  value.push_back(3);
  Writer out(std::span<std::byte>(bytes), 0);
  EXPECT_THROW(Codec<std::vector<int>>::write(out, value), Error);
}

}  // namespace
}  // namespace rondo
