# Writes a file as a C++ array:  cmake -DINPUT=openapi.json -DOUTPUT=x.cc -P embed_document.cmake
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <cstddef>
namespace pga::openapi {
extern const unsigned char kDocumentBytes[];
extern const std::size_t kDocumentSize;
const unsigned char kDocumentBytes[] = {${bytes}};
const std::size_t kDocumentSize = sizeof kDocumentBytes;
}  // namespace pga::openapi
")
