# Writes the passwords of a list as a C++ array, in lower case, sorted, without remarks:
#   cmake -DINPUT=password.lst -DOUTPUT=x.cc -P embed_passwords.cmake
file(STRINGS ${INPUT} lines)
set(passwords)
foreach(line IN LISTS lines)
  string(TOLOWER "${line}" word)
  # What a CMake list or a C++ literal would read otherwise is rare and short.
  if(word MATCHES "^[a-z0-9!@#$%&*+=?._-]+$" AND NOT word MATCHES "^#!comment")
    list(APPEND passwords "${word}")
  endif()
endforeach()
list(REMOVE_DUPLICATES passwords)
list(SORT passwords COMPARE STRING)
list(LENGTH passwords count)
if(count LESS 3000)
  message(FATAL_ERROR "${INPUT} holds ${count} passwords; 3000 are needed")
endif()
list(JOIN passwords "\",\n    \"" text)
file(WRITE ${OUTPUT} "#include \"services/auth/common_passwords.h\"

namespace pga::auth {
namespace {
constexpr std::string_view kPasswords[] = {
    \"${text}\"};
}  // namespace
std::span<const std::string_view> CommonPasswords() {
  return kPasswords;
}
}  // namespace pga::auth
")
