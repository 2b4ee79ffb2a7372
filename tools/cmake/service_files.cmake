# Writes pga::ServiceFiles() of protos/service_files.h: one message of each *_service.proto of FILES below ROOT, so that none is left
# out by the linker.
#   cmake -DROOT=dir "-DFILES=a_service.proto;b.proto" -DOUTPUT=x.cc -P service_files.cmake
set(includes)
set(entries)
foreach(file IN LISTS FILES)
  if(NOT file MATCHES "_service\\.proto$")
    continue()
  endif()
  file(STRINGS ${ROOT}/${file} package REGEX "^package [a-z0-9.]+")
  string(REGEX MATCH "pganalytics[a-z0-9.]+" package "${package}")
  string(REPLACE "." "::" package "${package}")
  file(STRINGS ${ROOT}/${file} message REGEX "^message [A-Za-z]+ " LIMIT_COUNT 1)
  if(NOT message MATCHES "^message ([A-Za-z]+) ")
    message(FATAL_ERROR "${file} has no message of its own")
  endif()
  string(APPEND entries "      ::${package}::${CMAKE_MATCH_1}::descriptor()->file(),\n")
  string(REGEX REPLACE "\\.proto$" ".pb.h" header ${file})
  string(APPEND includes "#include \"${header}\"\n")
endforeach()
file(WRITE ${OUTPUT} "// Generated from the names of the protos; do not edit.
#include \"protos/service_files.h\"

${includes}
namespace pga {

const std::vector<const google::protobuf::FileDescriptor*>& ServiceFiles() {
  static const auto* const files = new std::vector<const google::protobuf::FileDescriptor*>{
${entries}  };
  return *files;
}

}  // namespace pga
")
