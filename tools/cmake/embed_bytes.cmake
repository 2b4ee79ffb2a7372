# Writes a file as a C++ array, NAMESPACE::kNAMEBytes of NAMESPACE::kNAMESize bytes:
#   cmake -DINPUT=file -DOUTPUT=x.cc -DNAMESPACE=pga::gateway -DNAME=DescriptorSet -P embed_bytes.cmake
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <cstddef>
namespace ${NAMESPACE} {
extern const unsigned char k${NAME}Bytes[];
extern const std::size_t k${NAME}Size;
const unsigned char k${NAME}Bytes[] = {${bytes}};
const std::size_t k${NAME}Size = sizeof k${NAME}Bytes;
}  // namespace ${NAMESPACE}
")
