# The readers: SQL made from the catalog, and the classes that run it for the query service.
pga_library(NAME storage_readers
  SRCS reader_range.cc reader_sql.cc reader_load.cc source_reader.cc ledger_reader.cc series_reader.cc statement_reader.cc
       activity_reader.cc
  DEPS pga::catalog pga::clock pga::frame pga::pg pga::status pga_protos absl::status absl::statusor absl::time
       absl::strings absl::synchronization)

pga_test(NAME storage_reader_range_test
  SRCS reader_range_test.cc kept_answer_test.cc
  DEPS pga::storage_readers)
pga_test(NAME storage_reader_test
  SRCS reader_load_test.cc reader_testing.cc
  DEPS pga::storage_readers pga::testing
  LABELS integration TIMEOUT 180)
pga_test(NAME storage_series_test
  SRCS series_reader_test.cc
  DEPS pga::storage_readers pga::storage_schema pga::testing
  LABELS integration TIMEOUT 240)
