// Writes the document at build time: pga-openapi DESCRIPTOR_SET VERSION OUTPUT
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "libs/openapi/document.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: pga-openapi DESCRIPTOR_SET VERSION OUTPUT\n", stderr);
    return 2;
  }
  std::ifstream in(argv[1], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  google::protobuf::FileDescriptorSet files;
  if (!in || !files.ParseFromString(bytes)) {
    std::fprintf(stderr, "pga-openapi: %s is no descriptor set\n", argv[1]);
    return 1;
  }
  const auto document = pga::openapi::Document(
      files, {.title = "pgAnalytics",
              .version = argv[2],
              .description = "Statistics, logs, plans and alerts of a fleet of PostgreSQL servers. Unknown values are "
                             "absent, never zero. Times are RFC 3339; 64-bit integers are text in JSON, as Protobuf's "
                             "mapping writes them. Get a token at POST /api/v1/auth/login."});
  if (!document.ok()) {
    std::fprintf(stderr, "pga-openapi: %s\n", std::string(document.status().message()).c_str());
    return 1;
  }
  std::ofstream out(argv[3], std::ios::binary | std::ios::trunc);
  out << *document << "\n";
  out.close();
  if (!out) {
    std::fprintf(stderr, "pga-openapi: %s cannot be written\n", argv[3]);
    return 1;
  }
  return 0;
}
