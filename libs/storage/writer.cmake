# The write path: frames to COPY bytes, and groups of batches to one transaction. Used by the ingest service.
pga_library(NAME storage_writer
  SRCS frame_encoder.cc group_rows.cc group_writer.cc known_texts.cc prepared_batch.cc stream_watermarks.cc
  DEPS pga::catalog pga::frame pga::status pga_protos absl::flat_hash_map absl::flat_hash_set absl::status
       absl::statusor absl::time
  PRIVATE_DEPS pga::log pga::pg pga::retry absl::strings absl::synchronization)

pga_test(NAME storage_frame_encoder_test
  SRCS frame_encoder_test.cc
  DEPS pga::storage_writer pga::pg pga::testing
  LABELS integration TIMEOUT 120)
pga_bench(NAME storage_frame_encoder_benchmark
  SRCS frame_encoder_benchmark.cc
  DEPS pga::storage_writer pga::pg)

# Test support of the write path, shared with the ingest service's tests and the fault campaign.
pga_library(NAME storage_writer_testing
  SRCS writer_testing.cc
  DEPS pga::storage_writer pga::storage_schema pga::frame pga::pg pga::testing
  PRIVATE_DEPS absl::strings absl::synchronization)
pga_test(NAME storage_group_writer_test
  SRCS group_writer_test.cc
  DEPS pga::storage_writer_testing pga::status
  LABELS integration TIMEOUT 300)
