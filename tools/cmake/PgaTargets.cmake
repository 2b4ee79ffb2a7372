# One function per kind of target, so that every library, program and test is built the same way.
#
#   pga_library(NAME pg SRCS pool.cc DEPS pga::status PkgConfig::PQXX)      -> target pga_pg, alias pga::pg
#   pga_program(NAME pga-ingest SRCS main.cc DEPS ingest_core)              -> bin/pga-ingest
#   pga_test(NAME pg_test SRCS pool_test.cc DEPS pga::pg LABELS unit)       -> bin/pg_test, one ctest per binary
#   pga_bench(NAME frame_benchmark SRCS ... DEPS ...)                       -> bin/..., run once under ctest as a smoke test
#
#   pga_fuzzer(NAME batch_fuzzer SRCS ... DEPS ... CORPUS corpus)           -> only with PGA_FUZZ: bin/..., libFuzzer
#
# LABELS of a test: unit (no server, under a second or two), integration (real PostgreSQL), e2e (whole processes), bench.
# Further label core: links no gRPC, so that the thread sanitizer's word about it counts (target pga_core_tests).
# TIMEOUT in seconds (default 120).
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

add_custom_target(pga_core_tests)
add_custom_target(pga_fuzzers)

function(pga_library)
  cmake_parse_arguments(A "" "NAME" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(A_SRCS)
    add_library(pga_${A_NAME} STATIC ${A_SRCS})
    target_link_libraries(pga_${A_NAME} PUBLIC ${A_DEPS} PRIVATE pga_options ${A_PRIVATE_DEPS})
    target_include_directories(pga_${A_NAME} PUBLIC ${CMAKE_SOURCE_DIR})
  else()
    add_library(pga_${A_NAME} INTERFACE)
    target_link_libraries(pga_${A_NAME} INTERFACE ${A_DEPS})
    target_include_directories(pga_${A_NAME} INTERFACE ${CMAKE_SOURCE_DIR})
  endif()
  add_library(pga::${A_NAME} ALIAS pga_${A_NAME})
endfunction()

function(pga_program)
  cmake_parse_arguments(A "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${A_NAME} ${A_SRCS})
  target_link_libraries(${A_NAME} PRIVATE pga_options ${A_DEPS})
endfunction()

function(pga_test)
  cmake_parse_arguments(A "SERIAL" "NAME;TIMEOUT" "SRCS;DEPS;LABELS;ENV" ${ARGN})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  add_executable(${A_NAME} ${A_SRCS})
  target_link_libraries(${A_NAME} PRIVATE pga_options ${A_DEPS} GTest::gmock pga::test_main)
  # Tests are compiled once and run for seconds: what they test is optimised, they themselves need not be.
  target_compile_options(${A_NAME} PRIVATE ${PGA_TEST_FLAGS})
  if(PGA_SANITIZE MATCHES thread)
    # The sanitizer does not see into Debian's Abseil: without this every guarded access is reported.
    target_sources(${A_NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tools/sanitizers/tsan_absl_mutex.cc)
    target_link_libraries(${A_NAME} PRIVATE absl::synchronization ${CMAKE_DL_LIBS})
  endif()
  add_test(NAME ${A_NAME} COMMAND ${A_NAME} --gtest_brief=1)
  set_tests_properties(${A_NAME} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
    ENVIRONMENT "PGA_SOURCE_DIR=${CMAKE_SOURCE_DIR};PGA_BINARY_DIR=${CMAKE_BINARY_DIR};${A_ENV}")
  if(A_SERIAL)
    set_tests_properties(${A_NAME} PROPERTIES RUN_SERIAL TRUE)
  endif()
  if("core" IN_LIST A_LABELS)
    add_dependencies(pga_core_tests ${A_NAME})
  endif()
endfunction()

function(pga_bench)
  cmake_parse_arguments(A "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${A_NAME} ${A_SRCS})
  target_link_libraries(${A_NAME} PRIVATE pga_options ${A_DEPS} benchmark::benchmark benchmark::benchmark_main)
  add_test(NAME ${A_NAME}_smoke COMMAND ${A_NAME} --benchmark_min_time=0.001)
  set_tests_properties(${A_NAME}_smoke PROPERTIES LABELS bench TIMEOUT 60)
endfunction()

# A libFuzzer target. tools/check.sh runs each for a bounded time from its corpus; with KINDS once for each of these, which the
# program finds in PGA_FUZZ_KIND.
function(pga_fuzzer)
  if(NOT PGA_FUZZ)
    return()
  endif()
  cmake_parse_arguments(A "" "NAME;CORPUS" "SRCS;DEPS;KINDS" ${ARGN})
  add_executable(${A_NAME} ${A_SRCS})
  target_link_libraries(${A_NAME} PRIVATE pga_options ${A_DEPS})
  target_compile_options(${A_NAME} PRIVATE -fsanitize=fuzzer)
  target_link_options(${A_NAME} PRIVATE -fsanitize=fuzzer)
  add_dependencies(pga_fuzzers ${A_NAME})
  if(NOT A_KINDS)
    set(A_KINDS "-")
  endif()
  foreach(kind ${A_KINDS})
    file(APPEND ${CMAKE_BINARY_DIR}/fuzzers.txt "${A_NAME} ${CMAKE_CURRENT_SOURCE_DIR}/${A_CORPUS} ${kind}\n")
  endforeach()
endfunction()
