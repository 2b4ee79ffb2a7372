# Writes YAML files as raw strings: NAMESPACE::FUNCTION() gives a vector of TYPE {name, text}, which HEADER declares.
#   cmake -DOUTPUT=x.cc "-DFILES=a.yaml;b.yaml" -DHEADER=x.h -DNAMESPACE=pga::x -DTYPE=File -DFUNCTION=BuiltinFiles
#     [-DONE_FILE=c.yaml -DONE_FUNCTION=BuiltinNames] -P embed_yaml.cmake
# ONE_FUNCTION gives the text of ONE_FILE.
set(text "// Generated from YAML files; do not edit.\n#include \"${HEADER}\"\n\nnamespace ${NAMESPACE} {\n\n")
string(APPEND text "const std::vector<${TYPE}>& ${FUNCTION}() {\n  static const std::vector<${TYPE}> files = {\n")
foreach(path IN LISTS FILES)
  get_filename_component(name "${path}" NAME)
  file(READ "${path}" yaml)
  string(APPEND text "      {\"${name}\", R\"pga_yaml(${yaml})pga_yaml\"},\n")
endforeach()
string(APPEND text "  };\n  return files;\n}\n\n")
if(ONE_FILE)
  file(READ "${ONE_FILE}" yaml)
  string(APPEND text "std::string_view ${ONE_FUNCTION}() {\n  return R\"pga_yaml(${yaml})pga_yaml\";\n}\n\n")
endif()
string(APPEND text "}  // namespace ${NAMESPACE}\n")
file(WRITE "${OUTPUT}" "${text}")
