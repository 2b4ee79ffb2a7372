# Generates C++ messages, and gRPC stubs for files named *_service.proto, into ${CMAKE_BINARY_DIR}/gen with the folder
# layout of the sources. Generated headers are SYSTEM includes: they are not clean under -Wextra.
#
#   pga_protos(TARGET pga_protos ROOT <dir> FILES pganalytics/x/v1/a.proto ...)
set(PGA_GEN_DIR ${CMAKE_BINARY_DIR}/gen)
file(MAKE_DIRECTORY ${PGA_GEN_DIR})

function(pga_protos)
  cmake_parse_arguments(A "" "TARGET;ROOT" "FILES;DEPS" ${ARGN})
  set(sources)
  foreach(file IN LISTS A_FILES)
    string(REGEX REPLACE "\\.proto$" "" stem ${file})
    set(outputs ${PGA_GEN_DIR}/${stem}.pb.cc ${PGA_GEN_DIR}/${stem}.pb.h)
    set(grpc_args)
    if(stem MATCHES "_service$")
      list(APPEND outputs ${PGA_GEN_DIR}/${stem}.grpc.pb.cc ${PGA_GEN_DIR}/${stem}.grpc.pb.h)
      set(grpc_args --grpc_out=${PGA_GEN_DIR} --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
    endif()
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND protobuf::protoc -I${A_ROOT} -I${GOOGLEAPIS_PROTO_DIR} -I${CMAKE_SOURCE_DIR}/protos
              --cpp_out=${PGA_GEN_DIR} ${grpc_args} ${file}
      DEPENDS ${A_ROOT}/${file}
      VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()
  add_library(${A_TARGET} STATIC ${sources})
  target_include_directories(${A_TARGET} SYSTEM PUBLIC ${PGA_GEN_DIR})
  target_link_libraries(${A_TARGET} PUBLIC protobuf::libprotobuf gRPC::grpc++ ${A_DEPS})
endfunction()
