#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "libs/config/config.h"

namespace pga::config {
namespace {

constexpr size_t kMaxFileBytes = 64 * 1024;
constexpr char kEnvFileFlag[] = "env-file";
constexpr char kEnvFileName[] = "ENV_FILE";

absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return absl::NotFoundError("the file cannot be read");
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError("the file cannot be read");
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kMaxFileBytes) return absl::InvalidArgumentError("the file is larger than 64 KiB");
  return text;
}

std::string SecretFlag(const std::string& env) {
  return absl::StrCat(absl::StrReplaceAll(absl::AsciiStrToLower(env), {{"_", "-"}}), "-file");
}

}  // namespace

absl::StatusOr<std::string> ReadSecretFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(text.status().message(), "; name a readable file that holds the value alone"));
  }
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
  if (text->empty()) return absl::InvalidArgumentError("the file is empty; write the value into it");
  return text;
}

Environment ProcessEnvironment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

absl::StatusOr<Environment> ParseEnvironmentFile(std::string_view text) {
  Environment environment;
  int number = 0;
  for (absl::string_view raw : absl::StrSplit(ToAbsl(text), '\n')) {
    ++number;
    absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.substr(0, 7) == "export ") line = absl::StripLeadingAsciiWhitespace(line.substr(7));
    const size_t equals = line.find('=');
    if (equals == 0 || equals == absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": write NAME=value"));
    }
    const absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, equals));
    absl::string_view value = absl::StripAsciiWhitespace(line.substr(equals + 1));
    if (!value.empty() && (value.front() == '"' || value.front() == '\'')) {
      const size_t end = value.find(value.front(), 1);
      if (end == absl::string_view::npos) {
        return absl::InvalidArgumentError(absl::StrCat("line ", number, ": the quote is not closed"));
      }
      value = value.substr(1, end - 1);
    }
    environment.insert_or_assign(std::string(name), std::string(value));
  }
  return environment;
}

Loader::Loader(int argc, const char* const* argv, Environment environment, std::string description)
    : description_(std::move(description)), environment_(std::move(environment)) {
  if (argc > 0) program_ = argv[0];
  const size_t slash = program_.rfind('/');
  if (slash != std::string::npos) program_.erase(0, slash + 1);
  for (int i = 1; i < argc; ++i) arguments_.emplace_back(argv[i]);
}

Loader::Option& Loader::Add(std::string_view env, std::string_view flag, std::string default_text,
                            std::string_view unit, std::string_view help) {
  std::vector<std::string> envs = absl::StrSplit(ToAbsl(env), '|');
  for (Option& option : options_) {
    if (option.envs.front() == envs.front()) return option;
  }
  Option option;
  option.envs = std::move(envs);
  option.flag = std::string(flag);
  option.default_text = std::move(default_text);
  option.unit = std::string(unit);
  option.help = std::string(help);
  options_.push_back(std::move(option));
  return options_.back();
}

void Loader::String(std::string* target, std::string_view env, std::string_view flag, std::string_view default_value,
                    std::string_view help) {
  *target = std::string(default_value);
  Add(env, flag, std::string(default_value), "", help).setters.push_back([target](const std::string& text) {
    *target = std::string(StripRemark(text));
    return absl::OkStatus();
  });
}

void Loader::Listen(std::string* target, std::string_view env, std::string_view flag, std::string_view default_value,
                    std::string_view help) {
  *target = std::string(default_value);
  Add(env, flag, std::string(default_value), "", help)
      .setters.push_back([target](const std::string& text) -> absl::Status {
        std::string address(StripRemark(text));
        const size_t colon = address.rfind(':');
        int port = -1;
        if (address == "off") {
          address.clear();
        } else if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
                   port < 0 || port > 65535) {
          return absl::InvalidArgumentError("write host:port, such as 127.0.0.1:9100, or off");
        }
        *target = std::move(address);
        return absl::OkStatus();
      });
}

void Loader::Choice(std::string* target, std::string_view env, std::string_view flag, std::string_view default_value,
                    std::vector<std::string> words, std::string_view help) {
  *target = std::string(default_value);
  Add(env, flag, std::string(default_value), "", absl::StrCat(absl::StrJoin(words, ", "), "; ", std::string(help)))
      .setters.push_back([target, words = std::move(words)](const std::string& text) -> absl::Status {
        std::string word(StripRemark(text));
        if (std::find(words.begin(), words.end(), word) == words.end()) {
          return absl::InvalidArgumentError(absl::StrCat("write one of ", absl::StrJoin(words, ", ")));
        }
        *target = std::move(word);
        return absl::OkStatus();
      });
}

void Loader::Bool(bool* target, std::string_view env, std::string_view flag, bool default_value,
                  std::string_view help) {
  *target = default_value;
  Option& option = Add(env, flag, default_value ? "true" : "false", "", help);
  option.is_bool = true;
  option.setters.push_back([target](const std::string& text) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(*target, ParseBool(text));
    return absl::OkStatus();
  });
}

void Loader::Duration(absl::Duration* target, std::string_view env, std::string_view flag, absl::Duration default_value,
                      std::string_view help, absl::Duration min, absl::Duration max) {
  *target = default_value;
  Add(env, flag, absl::FormatDuration(default_value), "seconds", help)
      .setters.push_back([target, min, max](const std::string& text) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const absl::Duration value, ParseDuration(text));
        if (value < min || value > max) {
          return absl::InvalidArgumentError(
              max == absl::InfiniteDuration() ? absl::StrCat("write a duration of at least ", absl::FormatDuration(min))
                                              : absl::StrCat("write a duration from ", absl::FormatDuration(min),
                                                             " to ", absl::FormatDuration(max)));
        }
        *target = value;
        return absl::OkStatus();
      });
}

void Loader::Bytes(int64_t* target, std::string_view env, std::string_view flag, int64_t default_value,
                   std::string_view help, int64_t min, int64_t max) {
  *target = default_value;
  Add(env, flag, absl::StrCat(default_value), "bytes", help)
      .setters.push_back([target, min, max](const std::string& text) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t value, ParseBytes(text));
        if (value < min || value > max) {
          return absl::InvalidArgumentError(absl::StrCat("write a size from ", min, " to ", max, " bytes"));
        }
        *target = value;
        return absl::OkStatus();
      });
}

void Loader::List(std::vector<std::string>* target, std::string_view env, std::string_view flag,
                  std::string_view default_value, std::string_view help) {
  *target = ParseList(default_value);
  Add(env, flag, std::string(default_value), "comma separated", help)
      .setters.push_back([target](const std::string& text) {
        *target = ParseList(text);
        return absl::OkStatus();
      });
}

void Loader::Double(double* target, std::string_view env, std::string_view flag, double default_value,
                    std::string_view help, std::string_view unit, double min, double max) {
  *target = default_value;
  Add(env, flag, absl::StrCat(default_value), unit, help)
      .setters.push_back([target, min, max](const std::string& text) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(*target, ParseDouble(text, min, max));
        return absl::OkStatus();
      });
}

void Loader::AddInt(std::function<void(int64_t)> set, std::string_view env, std::string_view flag,
                    int64_t default_value, std::string_view help, std::string_view unit, int64_t min, int64_t max) {
  Add(env, flag, absl::StrCat(default_value), unit, help)
      .setters.push_back([set = std::move(set), min, max](const std::string& text) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t value, ParseInt(text, min, max));
        set(value);
        return absl::OkStatus();
      });
}

void Loader::Secret(log::Secret* target, std::string_view env, std::string_view help, std::string* file) {
  *target = log::Secret();
  Option& option = Add(env, "", "", "", help);
  option.is_secret = true;
  option.secret_file = file;
  option.flag = SecretFlag(option.envs.front());
  option.setters.push_back([target](const std::string& text) {
    *target = log::Secret(text);
    return absl::OkStatus();
  });
}

void Loader::Secret(std::string* target, std::string_view env, std::string_view help) {
  target->clear();
  Option& option = Add(env, "", "", "", help);
  option.is_secret = true;
  option.flag = SecretFlag(option.envs.front());
  option.setters.push_back([target](const std::string& text) {
    *target = text;
    return absl::OkStatus();
  });
}

absl::Status Loader::ReadArguments(std::map<std::string, std::string>* given) {
  bool flags_over = false;
  for (size_t i = 0; i < arguments_.size(); ++i) {
    const std::string& argument = arguments_[i];
    if (flags_over || argument.size() < 2 || argument[0] != '-') {
      if (!allow_positional_) {
        return absl::InvalidArgumentError(absl::StrCat("\"", argument, "\" is no flag; see --help"));
      }
      positional_.push_back(argument);
      continue;
    }
    if (argument == "--") {
      flags_over = true;
      continue;
    }
    if (argument == "--help" || argument == "-h") {
      help_requested_ = true;
      continue;
    }
    if (argument == "--version") {
      version_requested_ = true;
      continue;
    }
    const size_t equals = argument.find('=');
    std::string name = argument.substr(0, equals);
    name.erase(0, name.find_first_not_of('-'));
    const auto has_flag = [](const std::string& flag) {
      return [&flag](const Option& option) { return !option.flag.empty() && option.flag == flag; };
    };
    const auto found = std::find_if(options_.begin(), options_.end(), has_flag(name));
    if (found == options_.end() && name != kEnvFileFlag) {
      if (name.rfind("no-", 0) == 0 && equals == std::string::npos) {
        const std::string positive = name.substr(3);
        const auto negated = std::find_if(options_.begin(), options_.end(), has_flag(positive));
        if (negated != options_.end() && negated->is_bool) {
          (*given)[positive] = "false";
          continue;
        }
      }
      return absl::InvalidArgumentError(absl::StrCat("unknown flag --", name, "; see --help"));
    }
    if (equals != std::string::npos) {
      (*given)[name] = argument.substr(equals + 1);
    } else if (found != options_.end() && found->is_bool) {
      (*given)[name] = "true";
    } else if (i + 1 < arguments_.size()) {
      (*given)[name] = arguments_[++i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat("flag --", name, " needs a value"));
    }
  }
  return absl::OkStatus();
}

std::optional<std::string> Loader::FindEnvironment(const std::string& name) const {
  for (const Environment* source : {&environment_, &file_}) {
    const auto found = source->find(name);
    if (found != source->end() && !found->second.empty()) return found->second;
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<std::string>> Loader::FindSecret(const Option& option,
                                                              const std::map<std::string, std::string>& flags) const {
  std::optional<std::string> path;
  std::string named_by;
  if (const auto flag = flags.find(option.flag); flag != flags.end()) {
    path = flag->second;
    named_by = absl::StrCat("--", option.flag);
  } else {
    for (const std::string& env : option.envs) {
      // A URL holds no blank, so that a remark is distinguished from it.
      std::optional<std::string> value = FindEnvironment(env);
      if (value.has_value() && absl::StrContains(*value, "://")) value = std::string(StripRemark(*value));
      if (value.has_value()) return value;
    }
    for (const std::string& env : option.envs) {
      path = FindEnvironment(absl::StrCat(env, "_FILE"));
      named_by = absl::StrCat(env, "_FILE");
      if (path.has_value()) break;
    }
  }
  if (!path.has_value()) return std::optional<std::string>();
  const std::string file(StripRemark(*path));
  absl::StatusOr<std::string> text = ReadSecretFile(file);
  if (!text.ok()) return status::Annotate(text.status(), named_by);
  if (option.secret_file != nullptr) *option.secret_file = file;
  return std::optional<std::string>(*std::move(text));
}

absl::Status Loader::Parse() {
  std::map<std::string, std::string> flags;
  positional_.clear();
  const absl::Status arguments = ReadArguments(&flags);
  if (help_requested_ || version_requested_) return absl::OkStatus();
  PGA_RETURN_IF_ERROR(arguments);

  std::optional<std::string> env_file = FindEnvironment(kEnvFileName);
  if (const auto flag = flags.find(kEnvFileFlag); flag != flags.end()) env_file = flag->second;
  if (env_file.has_value()) {
    PGA_ASSIGN_OR_RETURN(const std::string text, [&]() -> absl::StatusOr<std::string> {
      absl::StatusOr<std::string> read = ReadSmallFile(*env_file);
      if (read.ok()) return read;
      return absl::InvalidArgumentError(absl::StrCat(kEnvFileName, "=", *env_file, ": ", read.status().message()));
    }());
    absl::StatusOr<Environment> parsed = ParseEnvironmentFile(text);
    if (!parsed.ok()) return status::Annotate(parsed.status(), absl::StrCat(kEnvFileName, "=", *env_file));
    file_ = *std::move(parsed);
  }

  std::vector<std::string> problems;
  for (Option& option : options_) {
    std::optional<std::string> value;
    std::string named_by;
    if (option.is_secret) {
      absl::StatusOr<std::optional<std::string>> secret = FindSecret(option, flags);
      if (!secret.ok()) {
        problems.emplace_back(secret.status().message());
        continue;
      }
      value = *std::move(secret);
      named_by = option.envs.front();
    } else if (const auto flag = flags.find(option.flag); !option.flag.empty() && flag != flags.end()) {
      value = flag->second;
      named_by = absl::StrCat("--", option.flag);
    } else {
      for (const std::string& env : option.envs) {
        value = FindEnvironment(env);
        named_by = env;
        if (value.has_value()) break;
      }
    }
    if (!value.has_value()) continue;
    option.set = true;
    for (const auto& setter : option.setters) {
      const absl::Status set = setter(*value);
      if (set.ok()) continue;
      problems.push_back(option.is_secret ? absl::StrCat(named_by, ": ", set.message())
                                          : absl::StrCat(named_by, "=\"", *value, "\": ", set.message()));
      break;
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "; "));
  return absl::OkStatus();
}

bool Loader::IsSet(std::string_view env) const {
  const std::string name(env.substr(0, env.find('|')));
  for (const Option& option : options_) {
    if (std::find(option.envs.begin(), option.envs.end(), name) != option.envs.end()) return option.set;
  }
  return false;
}

std::string Loader::Help() const {
  std::string text =
      absl::StrCat(description_, "\n\nUsage: ", program_, " [flags]", allow_positional_ ? " [arguments]" : "",
                   "\n\nA flag goes before its environment variable, that before the environment file, that "
                   "before the default.\nA duration without unit is in seconds.\n\n");
  for (const Option& option : options_) {
    std::string left;
    if (!option.flag.empty()) absl::StrAppend(&left, "--", option.flag, ", ");
    absl::StrAppend(&left, absl::StrJoin(option.envs, ", "));
    if (option.is_secret) absl::StrAppend(&left, ", ", option.envs.front(), "_FILE");
    absl::StrAppend(&text, "  ", left, "\n      ", option.help);
    if (!option.unit.empty()) absl::StrAppend(&text, " (", option.unit, ")");
    if (option.is_secret) {
      absl::StrAppend(&text, ". Secret: never printed; the file form reads it from a file");
    } else {
      absl::StrAppend(&text, ". Default: ", option.default_text.empty() ? "none" : option.default_text);
    }
    absl::StrAppend(&text, "\n");
  }
  absl::StrAppend(&text, "  --", kEnvFileFlag, ", ", kEnvFileName,
                  "\n      file with lines NAME=value. Default: none\n"
                  "  --help\n      this text\n  --version\n      the version\n");
  return text;
}

}  // namespace pga::config
