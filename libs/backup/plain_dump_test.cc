// Plain dumps as pg_dump writes them, cut, joined and with more in them than belongs there.
#include "libs/backup/plain_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"

namespace pga::backup {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kBegin[] =
    "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from database version 15.20\n\nSET x = 0;\n";
constexpr char kBody[] =
    "CREATE SCHEMA metrics;\nALTER SCHEMA metrics OWNER TO postgres;\n"
    "CREATE FUNCTION metrics.f() RETURNS text\n    LANGUAGE plpgsql\n    AS $_$\nBEGIN\n"
    "ALTER TABLE x OWNER TO y;\n\\connect elsewhere\n  RETURN 'it''s; $$';\nEND\n$_$;\n"
    "COMMENT ON FUNCTION metrics.f() IS 'costs $1\n\\! no command\n';\n"
    "COPY metrics.t (a) FROM stdin;\n\\\\! text\nALTER TABLE x OWNER TO y;\n\\connect\n\\.\n\n"
    "GRANT ALL ON TABLE metrics.t TO reader;\nGRANT ALL ON DATABASE metrics TO reader;\n"
    "ALTER TABLE metrics.t OWNER TO postgres;\n";
constexpr char kEnd[] = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

// Fed in pieces of `piece` bytes.
absl::Status Filter(const std::string& text, size_t piece, PlainDumpFacts* facts, std::string* out) {
  PlainDumpFilter first;
  for (size_t at = 0; at < text.size(); at += piece) {
    if (const absl::Status fed = first.Feed(text.substr(at, piece)); !fed.ok()) return fed;
  }
  if (const absl::Status whole = first.Finish(); !whole.ok()) return whole;
  *facts = first.facts();
  out->clear();
  PlainDumpFilter second(*facts, false, [out](std::string_view part) {
    out->append(part);
    return absl::OkStatus();
  });
  for (size_t at = 0; at < text.size(); at += piece) {
    if (const absl::Status fed = second.Feed(text.substr(at, piece)); !fed.ok()) return fed;
  }
  return second.Finish();
}

TEST(PlainDump, OwnersGoAndDataAndBodiesStay) {
  const std::string text = absl::StrCat(kBegin, kBody, kEnd);
  for (const size_t piece : {1UL, 7UL, 64UL, text.size()}) {
    PlainDumpFacts facts;
    std::string out;
    ASSERT_THAT(Filter(text, piece, &facts, &out), IsOk()) << piece;
    EXPECT_TRUE(facts.metrics);
    EXPECT_FALSE(facts.metadata);
    EXPECT_EQ(facts.server_major, 15);
    EXPECT_THAT(out, Not(HasSubstr("ALTER SCHEMA metrics OWNER")));
    EXPECT_THAT(out, Not(HasSubstr("ON DATABASE")));
    EXPECT_THAT(out, HasSubstr("BEGIN\nALTER TABLE x OWNER TO y;\n\\connect elsewhere\n"));
    EXPECT_THAT(out, HasSubstr("\\\\! text\nALTER TABLE x OWNER TO y;\n\\connect\n\\.\n"));
    EXPECT_THAT(out, HasSubstr("GRANT ALL ON TABLE metrics.t"));
    EXPECT_THAT(out, Not(HasSubstr("ALTER TABLE metrics.t OWNER")));
    EXPECT_THAT(out, HasSubstr("\\restrict abc"));
  }
}

// pg_dump --create --clean --if-exists.
TEST(PlainDump, DoesNotLeaveTheDatabase) {
  const std::string text =
      absl::StrCat(kBegin, "DROP DATABASE IF EXISTS metrics;\nCREATE DATABASE metrics WITH TEMPLATE = template0;\n",
                   "ALTER DATABASE metrics OWNER TO postgres;\n\\unrestrict abc\n\\connect metrics\n\\restrict abc\n",
                   "ALTER DATABASE metrics SET work_mem TO '1MB';\n", kBody, kEnd);
  PlainDumpFacts facts;
  std::string out;
  ASSERT_THAT(Filter(text, 50, &facts, &out), IsOk());
  EXPECT_TRUE(out.starts_with("\\restrict abc\nCREATE SCHEMA metrics;")) << out.substr(0, 100);
  EXPECT_THAT(out, Not(HasSubstr("DATABASE IF")));
}

TEST(PlainDump, WhatIsCutOrDoesMoreIsRefused) {
  PlainDumpFacts facts;
  std::string out;
  const std::string text = absl::StrCat(kBegin, kBody, kEnd);
  const size_t end = text.find("-- PostgreSQL database dump complete");
  for (size_t size = 0; size <= end + 30; size += 3) {
    EXPECT_THAT(Filter(text.substr(0, size), 64, &facts, &out), StatusIs(absl::StatusCode::kFailedPrecondition))
        << size;
  }
  for (const char* line :
       {"\\! rm -rf x\n", "\\connect postgres\n", "\\i other.sql\n", "\\copy t from program 'x'\n"}) {
    EXPECT_THAT(Filter(absl::StrCat(kBegin, kBody, line, kEnd), 64, &facts, &out),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("command of psql")))
        << line;
  }
  EXPECT_THAT(Filter(text + "DROP TABLE t;\n", 64, &facts, &out),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("behind the end")));
  EXPECT_THAT(Filter("-- PostgreSQL database cluster dump\n" + text, 64, &facts, &out),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("pg_dumpall")));
}

}  // namespace
}  // namespace pga::backup
