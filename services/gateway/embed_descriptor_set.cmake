# Writes the descriptor set as a C++ array:  cmake -DINPUT=pganalytics.pb -DOUTPUT=x.cc -P embed_descriptor_set.cmake
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <cstddef>
namespace pga::gateway {
extern const unsigned char kDescriptorSetBytes[];
extern const std::size_t kDescriptorSetSize;
const unsigned char kDescriptorSetBytes[] = {${bytes}};
const std::size_t kDescriptorSetSize = sizeof kDescriptorSetBytes;
}  // namespace pga::gateway
")
