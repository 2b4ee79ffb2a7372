# cmake -DOUTPUT=<file.cc> -DCLASSES=<log_classes.txt> -DWORDS=<log_words.txt> -P embed_log_data.cmake: writes the files as
# raw strings.
set(text "// Generated from log_classes.txt and log_words.txt; do not edit.\n#include \"services/collector/log_data.h\"\n\n")
string(APPEND text "namespace pga::collector {\n")
foreach(pair "LogClassesText;${CLASSES}" "LogWordsText;${WORDS}")
  list(GET pair 0 name)
  list(GET pair 1 path)
  file(READ "${path}" content)
  string(APPEND text "\nstd::string_view ${name}() {\n  return R\"pga_text(${content})pga_text\";\n}\n")
endforeach()
string(APPEND text "\n}  // namespace pga::collector\n")
file(WRITE "${OUTPUT}" "${text}")
