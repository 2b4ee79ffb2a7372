# What the databases look like and what keeps them in order: migrations, catalog tables, partitions, rollups, retention.
file(GLOB migration_files CONFIGURE_DEPENDS
  ${CMAKE_CURRENT_SOURCE_DIR}/migrations/metadata/*.sql ${CMAKE_CURRENT_SOURCE_DIR}/migrations/metrics/*.sql)
set(embedded_migrations ${CMAKE_CURRENT_BINARY_DIR}/embedded_migrations.cc)
add_custom_command(
  OUTPUT ${embedded_migrations}
  COMMAND ${CMAKE_COMMAND} -DDIR=${CMAKE_CURRENT_SOURCE_DIR}/migrations -DOUT=${embedded_migrations}
          -P ${CMAKE_CURRENT_SOURCE_DIR}/migrations/embed.cmake
  DEPENDS ${migration_files} ${CMAKE_CURRENT_SOURCE_DIR}/migrations/embed.cmake
  VERBATIM)

pga_library(NAME storage_schema
  SRCS migrations.cc catalog_schema.cc rollup_sql.cc rollup_job.cc maintenance.cc ${embedded_migrations}
  DEPS pga::catalog pga::clock pga::exec pga::metrics pga::pg pga::status pga_protos absl::status absl::statusor absl::time
  PRIVATE_DEPS pga::log OpenSSL::Crypto absl::strings absl::synchronization)

pga_test(NAME storage_migrations_test
  SRCS migrations_test.cc catalog_schema_test.cc schema_testing.cc
  DEPS pga::storage_schema pga::testing
  LABELS integration TIMEOUT 240)
pga_test(NAME storage_rollup_test
  SRCS rollup_job_test.cc schema_testing.cc
  DEPS pga::storage_schema pga::testing
  LABELS integration TIMEOUT 300)
pga_test(NAME storage_maintenance_test
  SRCS maintenance_test.cc schema_testing.cc
  DEPS pga::storage_schema pga::testing
  LABELS integration TIMEOUT 300)
pga_bench(NAME storage_rollup_benchmark
  SRCS rollup_benchmark.cc schema_testing.cc
  DEPS pga::storage_schema pga::testing GTest::gtest)
pga_test(NAME storage_timescaledb_pglite_test
  SRCS timescaledb_pglite_test.cc schema_testing.cc
  DEPS pga::storage_schema pga::testing
  LABELS integration TIMEOUT 420)
