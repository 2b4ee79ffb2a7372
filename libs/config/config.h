#pragma once

// Settings of a program: typed targets are registered first, then Parse() fills them from flags, environment, an
// environment file and defaults, in this order of precedence. What cannot be read stops the start with the name of the
// variable. Not thread-safe; used by main() before threads start.
//
//   config::Loader loader(argc, argv, config::ProcessEnvironment(), "pga-auth: users, tokens and keys of
//   pgAnalytics."); loader.String(&config.listen, "GRPC_LISTEN", "grpc-listen", "127.0.0.1:9091", "address of the gRPC
//   server"); loader.Secret(&config.jwt_secret, "JWT_SECRET", "key of HS256 tokens, 32 bytes or more");
//   loader.Int(&config.port, "PORT", "port", 8080, "HTTP port", "port", 0, 65535);
//
// A name may list spellings: "TLS_CERT_PATH|TLS_CERT"; the first one set counts. The same setting may be registered
// again by another part of the program with another target: both targets are filled, the help shows it once.

#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "libs/config/values.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::config {

using Environment = std::map<std::string, std::string>;

// The environment of this process.
Environment ProcessEnvironment();

// Lines NAME=value as systemd's EnvironmentFile reads them: `#` and `;` lines are remarks, values may be quoted,
// `export` before the name is tolerated. INVALID_ARGUMENT names the line.
absl::StatusOr<Environment> ParseEnvironmentFile(std::string_view text);

// What a file that holds a secret says: its text without the line ends at the end. INVALID_ARGUMENT if it cannot be
// read, is empty or larger than 64 KiB; the message says what to change, and no path.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path);

class Loader {
 public:
  Loader(int argc, const char* const* argv, Environment environment, std::string description);

  // Each registers one setting; `target` gets the default at once and outlives Parse(). An empty variable counts as
  // unset.
  void String(std::string* target, std::string_view env, std::string_view flag, std::string_view default_value,
              std::string_view help);
  // One of `words`, as written there.
  void Choice(std::string* target, std::string_view env, std::string_view flag, std::string_view default_value,
              std::vector<std::string> words, std::string_view help);
  // ENVIRONMENT: development, staging or production. A word that is none of them must not pass for development.
  void Stage(std::string* target, std::string_view default_value, std::string_view help) {
    Choice(target, "ENVIRONMENT", "environment", default_value, {"development", "staging", "production"}, help);
  }
  // host:port, or off or nothing, which leave `target` empty.
  void Listen(std::string* target, std::string_view env, std::string_view flag, std::string_view default_value,
              std::string_view help);
  void Bool(bool* target, std::string_view env, std::string_view flag, bool default_value, std::string_view help);
  // Plain number = seconds.
  void Duration(absl::Duration* target, std::string_view env, std::string_view flag, absl::Duration default_value,
                std::string_view help, absl::Duration min = absl::ZeroDuration(),
                absl::Duration max = absl::InfiniteDuration());
  void Bytes(int64_t* target, std::string_view env, std::string_view flag, int64_t default_value, std::string_view help,
             int64_t min = 0, int64_t max = std::numeric_limits<int64_t>::max());
  void List(std::vector<std::string>* target, std::string_view env, std::string_view flag,
            std::string_view default_value, std::string_view help);
  void Double(double* target, std::string_view env, std::string_view flag, double default_value, std::string_view help,
              std::string_view unit, double min, double max);
  template <std::integral T>
  requires(!std::same_as<T, bool>) void Int(T* target, std::string_view env, std::string_view flag, T default_value,
                                            std::string_view help, std::string_view unit = "",
                                            T min = std::numeric_limits<T>::min(),
                                            T max = std::numeric_limits<T>::max()) {
    *target = default_value;
    AddInt([target](int64_t value) { *target = static_cast<T>(value); }, env, flag, static_cast<int64_t>(default_value),
           help, unit, static_cast<int64_t>(min), Clamp(max));
  }

  // Secrets have no flag, because arguments are visible to every user of the host: the value comes from NAME, or from
  // the file that NAME_FILE (or the flag --name-file) names, without its last line end. Values and paths are never
  // printed; no remark is stripped. Files are limited to 64 KiB. `file`, if given, becomes the file's name where there
  // is one, for a value that is read again after a rotation.
  void Secret(log::Secret* target, std::string_view env, std::string_view help, std::string* file = nullptr);
  void Secret(std::string* target, std::string_view env, std::string_view help);

  // Fills all targets. INVALID_ARGUMENT lists every problem at once, each with its variable and what to write instead.
  // --env-file PATH (or ENV_FILE) names the environment file. With --help or --version nothing is checked.
  absl::Status Parse();

  // Words that are no flags, after Parse(); an error unless AllowPositional was called.
  void AllowPositional() { allow_positional_ = true; }
  const std::vector<std::string>& positional() const { return positional_; }

  // All settings with flag, variable, unit and default.
  std::string Help() const;
  bool help_requested() const { return help_requested_; }
  bool version_requested() const { return version_requested_; }

  // Whether the setting was given by flag, environment or file (not by default). `env` as registered or any spelling.
  bool IsSet(std::string_view env) const;

 private:
  struct Option {
    std::vector<std::string> envs;
    std::string flag;
    std::string default_text;
    std::string unit;
    std::string help;
    bool is_bool = false;
    bool is_secret = false;
    std::string* secret_file = nullptr;
    std::vector<std::function<absl::Status(const std::string&)>> setters;
    bool set = false;
  };

  static int64_t Clamp(uint64_t max) {
    constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    return static_cast<int64_t>(max < kMax ? max : kMax);
  }
  void AddInt(std::function<void(int64_t)> set, std::string_view env, std::string_view flag, int64_t default_value,
              std::string_view help, std::string_view unit, int64_t min, int64_t max);
  Option& Add(std::string_view env, std::string_view flag, std::string default_text, std::string_view unit,
              std::string_view help);
  absl::Status ReadArguments(std::map<std::string, std::string>* given);
  absl::StatusOr<std::optional<std::string>> FindSecret(const Option& option,
                                                        const std::map<std::string, std::string>& flags) const;
  std::optional<std::string> FindEnvironment(const std::string& name) const;

  std::vector<std::string> arguments_;
  std::string program_;
  std::string description_;
  Environment environment_;
  Environment file_;
  std::vector<Option> options_;
  bool allow_positional_ = false;
  std::vector<std::string> positional_;
  bool help_requested_ = false;
  bool version_requested_ = false;
};

}  // namespace pga::config
