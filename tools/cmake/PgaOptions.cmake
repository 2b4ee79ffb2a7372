# Language level, build-type flags, linker and sanitizers. Flags for our own code only live in the interface target
# pga_options; generated code does not link it.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

option(PGA_WERROR "Treat warnings in our own code as errors" ON)
option(PGA_COVERAGE "Instrument our own code for gcov" OFF)
option(PGA_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
set(PGA_TEST_FLAGS "" CACHE STRING "Compiler flags for the sources of tests alone")
set(PGA_SANITIZE "" CACHE STRING "Sanitizers for every target, comma separated: address,undefined or thread")

find_program(CCACHE_BIN ccache)
if(CCACHE_BIN)
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE_BIN})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_C_COMPILER_LAUNCHER})
endif()
find_program(MOLD_BIN mold)
if(MOLD_BIN)
  add_link_options(-fuse-ld=mold)
endif()

if(PGA_FUZZ)
  file(WRITE ${CMAKE_BINARY_DIR}/fuzzers.txt "")  # pga_fuzzer adds a line each: program, corpus
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(PGA_SANITIZE)
  add_compile_options(-fsanitize=${PGA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PGA_SANITIZE})
  if(PGA_SANITIZE MATCHES "thread")
    # The thread sanitizer does not understand fences, and GCC refuses them. Asio's fences stand beside the mutex of its
    # queue, which orders handlers already.
    add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
endif()

add_library(pga_options INTERFACE)
target_compile_features(pga_options INTERFACE cxx_std_20)
target_include_directories(pga_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(pga_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees uninitialised reads in std::variant and overlapping copies in std::string concatenation that are not
  # there (GCC bugs 105562 and 105651); both only with optimisation.
  target_compile_options(pga_options INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
endif()
target_compile_definitions(pga_options INTERFACE PGA_VERSION="${PROJECT_VERSION}")
if(PGA_WERROR)
  target_compile_options(pga_options INTERFACE -Werror)
endif()
if(PGA_COVERAGE)
  target_compile_options(pga_options INTERFACE --coverage)
  target_link_options(pga_options INTERFACE --coverage)
endif()
