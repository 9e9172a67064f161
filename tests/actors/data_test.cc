// Text, CSV, series and streams: what the data say, and what is refused in words.

#include <gtest/gtest.h>

#include <cmath>

#include <rondo/actors/csv.h>
#include <rondo/actors/series.h>
#include <rondo/actors/streams.h>
#include <rondo/actors/text.h>

namespace rondo::actors {
namespace {

std::string why(const Error& error) { return error.what(); }

TEST(Text, VocabularyIsTheSortedSetOfCharacters) {
  const auto vocabulary = vocabulary_of("bäca", TokenKind::kChar);
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_EQ(vocabulary.value().tokens, (std::vector<std::string>{"a", "b", "c", "ä"}));
  EXPECT_EQ(encode(vocabulary.value(), "äab").value(), (std::vector<std::int32_t>{3, 0, 1}));
}

TEST(Text, BytesTakeAnything) {
  const std::string bytes("\xFF\x00\x80", 3);
  const auto vocabulary = vocabulary_of(bytes, TokenKind::kByte);
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_EQ(vocabulary.value().size(), 3);
  EXPECT_EQ(encode(vocabulary.value(), bytes).value(), (std::vector<std::int32_t>{2, 0, 1}));
}

TEST(Text, BrokenUtf8IsRefusedWithItsOffset) {
  for (const char* bad :
       {"ab\xFF", "ab\xC0\xAF", "ab\xED\xA0\x80", "ab\xE2\x82", "ab\xF5\x80\x80\x80"}) {
    const auto vocabulary = vocabulary_of(bad, TokenKind::kChar);
    ASSERT_FALSE(vocabulary.ok()) << bad;
    EXPECT_NE(why(vocabulary.error()).find("offset 2"), std::string::npos);
  }
}

TEST(Text, AnUnknownCharacterIsRefusedWithItsOffset) {
  const auto vocabulary = vocabulary_of("abc", TokenKind::kChar);
  const auto tokens = encode(vocabulary.value(), "abcé");
  ASSERT_FALSE(tokens.ok());
  EXPECT_NE(why(tokens.error()).find("'é' at offset 3"), std::string::npos);
}

TEST(Csv, ReadsAQuotedColumnWhateverItsCase) {
  const auto rows = read_column(
      "f", "\"Month\",\"Air, \"\"Passengers\"\"\"\r\n\"1\",112\r\n\"2\",1e2\r\n",
      "air, \"passengers\"");
  ASSERT_TRUE(rows.ok()) << rows.error().what();
  EXPECT_EQ(rows.value(), (std::vector<double>{112, 100}));
}

TEST(Csv, AFileThatIsNoneIsNotPouredOntoTheTerminal) {
  const auto wide = read_column("f", std::string(100'000, 'x') + "\n1\n", "b");
  EXPECT_LT(std::string(wide.error().what()).size(), 300u);
  const auto escapes = read_column("f", "a\x1b[2J,c\n1,2\n", "b");
  EXPECT_NE(std::string(escapes.error().what()).find("its columns are: a?[2J, c"),
            std::string::npos)
      << escapes.error().what();
}

TEST(Csv, AHoleOrAWordNamesLineAndColumn) {
  const auto hole = read_column("f.csv", "a,b\n1,2\n3,\n", "b");
  ASSERT_FALSE(hole.ok());
  EXPECT_NE(why(hole.error()).find("f.csv, line 3: column 'b' has a hole"), std::string::npos);
  const auto word = read_column("f.csv", "a,b\n1,2\n3,n/a\n", "b");
  ASSERT_FALSE(word.ok());
  EXPECT_NE(why(word.error()).find("line 3: column 'b' holds 'n/a'"), std::string::npos);
  EXPECT_FALSE(read_column("f.csv", "a,b\n1,2\n3\n4,5\n", "b").ok());
  EXPECT_FALSE(read_column("f.csv", "a,b\n1,nan\n", "b").ok());
  EXPECT_FALSE(read_column("f.csv", "a,b\n1,\"2\n", "b").ok());
}

TEST(Csv, AnUnknownColumnNamesTheColumnsThereAre) {
  const auto rows = read_column("f.csv", "Month,Passengers\n1,2\n", "price");
  ASSERT_FALSE(rows.ok());
  EXPECT_NE(why(rows.error()).find("Month, Passengers"), std::string::npos);
}

std::vector<double> seasonal(int rows) {
  std::vector<double> values;
  for (int i = 0; i < rows; ++i)
    values.push_back(std::exp(0.01 * i + 0.3 * std::sin(2 * M_PI * i / 12) + 0.02 * ((i * 7) % 5)));
  return values;
}

TEST(Series, FindsTheSeasonAndTheLogarithm) {
  const auto scale = fit_scale(seasonal(96));
  ASSERT_TRUE(scale.ok());
  EXPECT_TRUE(scale.value().logarithm);
  EXPECT_EQ(scale.value().lag % 12, 0);
}

TEST(Series, ForecastsComeBackInTheirOwnUnit) {
  const auto rows = seasonal(96);
  const SeriesScale scale = fit_scale(rows).value();
  const auto learnable = to_learnable(scale, rows).value();
  const auto lag = static_cast<std::size_t>(scale.lag);
  ASSERT_EQ(learnable.size(), rows.size() - lag);
  for (std::size_t i = 0; i < learnable.size(); ++i)
    EXPECT_NEAR(to_value(scale, static_cast<double>(learnable[i]), rows[i]), rows[i + lag], 1e-5);
}

TEST(Series, NegativeValuesTakeNoLogarithm) {
  std::vector<double> rows = seasonal(60);
  rows[7] = -1;
  EXPECT_FALSE(fit_scale(rows).value().logarithm);
}

TEST(Series, TooFewOrConstantRowsAreRefused) {
  EXPECT_FALSE(fit_scale(std::vector<double>(5, 1.0)).ok());
  EXPECT_FALSE(fit_scale(std::vector<double>(50, 3.0)).ok());
}

TEST(Streams, ATextIsCutAsCharRnnCutsIt) {
  std::vector<std::int32_t> tokens(1 + 2 * 3 * 20);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i);
  const auto streams = Streams::of_tokens(tokens, {.batch = 2, .seq = 3, .val_frac = 0.05});
  ASSERT_TRUE(streams.ok());
  EXPECT_EQ(streams.value().training().size(), 19u);
  ASSERT_EQ(streams.value().validation().size(), 1u);
  EXPECT_EQ(streams.value().validation()[0].start, 57);
  const Segment second = streams.value().training()[1];
  EXPECT_EQ(streams.value().inputs(second, {0, 2}).ids,
            (std::vector<std::int32_t>{3, 63, 4, 64, 5, 65}));
  EXPECT_EQ(streams.value().targets(second, {1, 1}).ids, (std::vector<std::int32_t>{64, 65, 66}));
}

TEST(Streams, ABatchLargerThanTheDataIsRefused) {
  const auto streams = Streams::of_tokens({1, 2, 3}, {.batch = 2, .seq = 3, .val_frac = 0.05});
  ASSERT_FALSE(streams.ok());
  EXPECT_EQ(streams.error().code(), ErrorCode::kOverloaded);
}

TEST(Streams, ASeriesKeepsItsLastPieces) {
  const auto streams =
      Streams::of_series(std::vector<float>(84, 1.f), {.batch = 1, .seq = 50, .val_frac = 0.2});
  ASSERT_TRUE(streams.ok());
  ASSERT_EQ(streams.value().training().size(), 2u);
  EXPECT_EQ(streams.value().training()[1].steps, 16);
  EXPECT_EQ(streams.value().validation()[0].start, 66);
  EXPECT_EQ(streams.value().validation()[0].steps, 17);
}

}  // namespace
}  // namespace rondo::actors
