// The data-driven proof: every place of testdata/redaction_places.txt with every form of a literal, whole and cut,
// under both settings of standard_conforming_strings and in both modes; bare words; texts of their own.
#include <google/protobuf/stubs/common.h>
#include <gtest/gtest.h>
#include <pg_query.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/collector/query_text.h"

namespace pga::collector {
namespace {

constexpr std::string_view kSecret = "hunter2";

std::vector<std::string> Lines(const std::string& name) {
  std::ifstream in(std::string(PGA_TESTDATA) + "/" + name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  EXPECT_FALSE(lines.empty()) << name;
  return lines;
}

struct Place {
  std::string statement;  // with {}
  std::string expected;   // with {} or without
  bool in_grammar = true;
};

std::vector<Place> Places(const std::string& name) {
  std::vector<Place> places;
  for (const std::string& line : Lines(name)) {
    if (line.empty() || line[0] == '#') continue;
    Place place;
    std::string_view rest = line;
    if (absl::StartsWith(line, "! ")) {
      place.in_grammar = false;
      rest.remove_prefix(2);
    }
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(absl::string_view(rest.data(), rest.size()), absl::MaxSplits(" ## ", 1));
    place.statement = absl::StrReplaceAll(parts.first, {{"\\n", "\n"}});
    place.expected = parts.second.empty() ? place.statement : absl::StrReplaceAll(parts.second, {{"\\n", "\n"}});
    if (absl::StrContains(place.statement, "{}")) places.push_back(std::move(place));
  }
  return places;
}

std::string Fill(const std::string& statement, std::string_view value) {
  return absl::StrReplaceAll(statement, {{"{}", absl::string_view(value.data(), value.size())}});
}

bool Holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool InGrammar(const std::string& statement) {
  PgQueryProtobufParseResult parsed = pg_query_parse_protobuf(statement.c_str());
  const bool ok = parsed.error == nullptr;
  pg_query_free_protobuf_parse_result(parsed);
  return ok;
}

struct Form {
  const char* literal;
  const char* replaced;  // what stands for it in a normalized text
  bool standard = true;  // a literal with standard_conforming_strings on
  bool off = true;       // a literal with it off
};

// Every form holds the secret once; ESCAPES of a form are read by the setting that it is for.
const Form kForms[] = {
    {"'hunter2'", "?"},
    {"'a''hunter2'", "?"},
    {"''''''' hunter2'", "?"},
    {"'a -- hunter2'", "?"},
    {"'a /* hunter2'", "?"},
    {"'$$ hunter2'", "?"},
    {"'\" hunter2'", "?"},
    {"E'hunter2'", "?"},
    {"e'a\\'hunter2 z'", "?"},
    {"E'a\\\\''hunter2 z'", "?"},
    {"E'\\x68\\'hunter2 z'", "?"},
    {"U&'a\\0027hunter2'", "?", true, false},
    {"u&'hunter2\\'", "?", true, false},
    {"$$hunter2$$", "?"},
    {"$$it's \\' hunter2$$", "?"},
    {"$q$a $$ hunter2 ' $q$", "?"},
    {"$Größe_1$hunter2$Größe_1$", "?"},
    {"'a'\n'hunter2'", "?"},
    {"'a'\n  \t\n 'b' \r\n'hunter2'", "?"},
    {"'a' -- it's more\n  'hunter2'", "?"},
    {"'a'\n -- more\n -- and more\n 'hunter2'", "?"},
    {"E'a'\n'b\\'hunter2 c'", "?"},
    {"E'a' -- c\n'b\\'hunter2 c'", "?"},
    {"'a\\hunter2'", "?"},
    {"/* x */ 'hunter2'", " ?"},
    {"/* password=hunter2 */ 'x'", " ?"},
    {"-- it's\n 'hunter2'", " \n ?"},
    {"'hunter2\\'", "?", true, false},
    {"'hunter2\\\\'", "?"},
    {"'ab\\' hunter2 z'", "?", false, true},
    {"'ab\\\\\\' hunter2 z'", "?", false, true},
    {"'b''\\' hunter2 '", "?", false, true},
    {"'a'\n'b\\' hunter2 '", "?", false, true},
    {"'\\'' hunter2 '", "?", false, true},
};

TEST(RedactPlaces, NoLiteralInAnyPlaceIsLeft) {
  int statements = 0;
  for (const Place& place : Places("redaction_places.txt")) {
    for (const Form& form : kForms) {
      const std::string statement = Fill(place.statement, form.literal);
      SCOPED_TRACE(statement);
      ++statements;
      const RedactedText normalized = RedactQuery(statement, QueryTextMode::kNormalized);
      EXPECT_FALSE(Holds(normalized.text, kSecret)) << normalized.text;
      const RedactedText full = RedactQuery(statement, QueryTextMode::kFull);
      EXPECT_FALSE(Holds(full.text, kSecret)) << full.text;
      // Where the setting decides, the careful way may take more than the literal.
      if (form.standard && form.off && !Holds(form.literal, "/*") && !Holds(form.literal, "-- it's\n")) {
        EXPECT_EQ(normalized.text, Fill(place.expected, form.replaced));
      }
    }
  }
  RecordProperty("statements", statements);
  EXPECT_GE(statements, 5000);
}

TEST(RedactPlaces, PlacesAreOfTheGrammar) {
  int places = 0;
  for (const Place& place : Places("redaction_places.txt")) {
    SCOPED_TRACE(place.statement);
    ++places;
    EXPECT_EQ(InGrammar(Fill(place.statement, "'hunter2'")), place.in_grammar);
  }
  for (const Place& place : Places("redaction_words.txt")) {
    SCOPED_TRACE(place.statement);
    ++places;
    EXPECT_EQ(InGrammar(Fill(place.statement, "hunter2")), place.in_grammar);
  }
  RecordProperty("places", places);
  EXPECT_GE(places, 200);
}

// track_activity_query_size cuts anywhere, in the middle of a character too.
TEST(RedactPlaces, NoTextIsCutInAPlaceThatShowsAPart) {
  for (const Place& place : Places("redaction_places.txt")) {
    for (const Form& form : kForms) {
      const std::string statement = Fill(place.statement, form.literal);
      const size_t secret = statement.find(kSecret);
      for (size_t cut = secret + 3; cut <= secret + kSecret.size() && cut <= statement.size(); ++cut) {
        const std::string text = statement.substr(0, cut);
        EXPECT_FALSE(Holds(RedactQuery(text, QueryTextMode::kNormalized).text, "hun")) << text;
        EXPECT_FALSE(Holds(RedactQuery(text, QueryTextMode::kFull).text, "hun")) << text;
      }
    }
  }
}

TEST(RedactPlaces, BareWordsAreValues) {
  for (const Place& place : Places("redaction_words.txt")) {
    for (const char* word : {"hunter2", "\"hunter2\"", "U&\"hunter2\""}) {
      const std::string statement = Fill(place.statement, word);
      SCOPED_TRACE(statement);
      EXPECT_EQ(RedactQuery(statement, QueryTextMode::kNormalized).text, place.expected);
      EXPECT_FALSE(Holds(RedactQuery(statement, QueryTextMode::kFull).text, kSecret));
      const std::string cut = statement.substr(0, statement.find(kSecret) + 4);
      EXPECT_FALSE(Holds(RedactQuery(cut, QueryTextMode::kNormalized).text, "hunt")) << cut;
      EXPECT_FALSE(Holds(RedactQuery(cut, QueryTextMode::kFull).text, "hunt")) << cut;
    }
  }
}

std::vector<std::string> List(absl::string_view text) {
  std::vector<std::string> parts;
  for (const absl::string_view part : absl::StrSplit(text, ", ")) {
    const absl::string_view word = absl::StripAsciiWhitespace(part);
    if (!word.empty()) parts.emplace_back(word);
  }
  return parts;
}

TEST(RedactPlaces, TextsOfTheirOwn) {
  int texts = 0;
  std::string head;
  std::string text;
  const auto check = [&] {
    if (head.empty()) return;
    ++texts;
    if (!text.empty()) text.pop_back();
    text = absl::StrReplaceAll(text, {{"^", "\r"}, {"`", "\v"}});
    SCOPED_TRACE(text);
    const std::vector<std::string> parts = absl::StrSplit(head, '|');
    ASSERT_EQ(parts.size(), 3u) << head;
    for (const QueryTextMode mode : {QueryTextMode::kNormalized, QueryTextMode::kFull}) {
      if (absl::StrContains(parts[0], mode == QueryTextMode::kFull ? "normalized" : "full")) continue;
      const std::string redacted = RedactQuery(text, mode).text;
      for (const std::string& gone : List(parts[1])) EXPECT_FALSE(Holds(redacted, gone)) << redacted;
      const std::string stays(absl::StripAsciiWhitespace(parts[2]));
      EXPECT_TRUE(Holds(redacted, stays)) << redacted;
    }
  };
  for (const std::string& line : Lines("redaction_texts.txt")) {
    if (line[0] == '#') continue;
    if (absl::StartsWith(line, "== ")) {
      check();
      head = line.substr(3);
      text.clear();
    } else {
      text += line + "\n";
    }
  }
  check();
  RecordProperty("texts", texts);
  EXPECT_GE(texts, 110);
}

}  // namespace
}  // namespace pga::collector
