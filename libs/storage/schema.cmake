# What the databases look like: migrations and the applied catalog.
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
  SRCS migrations.cc catalog_schema.cc ${embedded_migrations}
  DEPS pga::catalog pga::pg pga::status pga_protos absl::status absl::statusor absl::time
  PRIVATE_DEPS OpenSSL::Crypto absl::strings)

pga_test(NAME storage_migrations_test
  SRCS migrations_test.cc catalog_schema_test.cc schema_testing.cc
  DEPS pga::storage_schema pga::testing
  LABELS integration TIMEOUT 240)
pga_test(NAME storage_timescaledb_pglite_test
  SRCS timescaledb_pglite_test.cc schema_testing.cc
  DEPS pga::storage_schema pga::testing
  LABELS integration TIMEOUT 420)
