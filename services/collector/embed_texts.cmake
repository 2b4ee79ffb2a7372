# cmake -DOUTPUT=<file.cc> -DHEADER=<header> -DNAMES="<A> <B>" -D<A>=<file> -D<B>=<file> -P embed_texts.cmake: writes each file
# as a raw string that a function of that name gives.
set(text "// Generated from texts; do not edit.\n#include \"${HEADER}\"\n\nnamespace pga::collector {\n")
string(REPLACE " " ";" names "${NAMES}")
foreach(name ${names})
  file(READ "${${name}}" content)
  string(APPEND text "\nstd::string_view ${name}() {\n  return R\"pga_text(${content})pga_text\";\n}\n")
endforeach()
string(APPEND text "\n}  // namespace pga::collector\n")
file(WRITE "${OUTPUT}" "${text}")
