// Scripts that complete command lines in a shell. They are made from the commands themselves, and ask no server.
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {
namespace {

// Names of all commands, and their beginnings of whole words, by what may follow them.
std::map<std::string, std::set<std::string>> NextWords() {
  std::map<std::string, std::set<std::string>> next;
  for (const Command& command : AllCommands()) {
    std::string before;
    std::string rest = command.name;
    while (!rest.empty()) {
      const size_t blank = std::min(rest.find(' '), rest.size());
      const std::string word = rest.substr(0, blank);
      next[before].insert(word);
      before += (before.empty() ? "" : " ") + word;
      rest.erase(0, std::min(blank + 1, rest.size()));
    }
  }
  return next;
}

std::string OptionsOf(const Command& command) {
  std::vector<std::string> words;
  for (const OptionSpec& option : command.options) words.push_back("--" + option.name);
  for (const OptionSpec& option : CommonOptions()) {
    if (option.name == "watch" && !command.watchable) continue;
    words.push_back((option.name.size() == 1 ? "-" : "--") + option.name);
  }
  return absl::StrJoin(words, " ");
}

// The arms of a shell's case over the command's words.
std::string Cases() {
  std::string text;
  for (const auto& [before, words] : NextWords()) {
    absl::StrAppend(&text, "    '", before, "') words='", absl::StrJoin(words, " "), "' ;;\n");
  }
  return text;
}

std::string OptionCases() {
  std::string text;
  for (const Command& command : AllCommands()) {
    absl::StrAppend(&text, "    '", command.name, "') options='", OptionsOf(command), "' ;;\n");
  }
  return text;
}

// Both shells run this: `line` holds the words before the one that is completed. `longest` becomes the
// options of the longest command that these words name.
std::string Body() {
  return absl::StrCat(R"(  local command='' longest='' words='' options='' word
  for word in "${line[@]}"; do
    case "$word" in -*) break ;; esac
    command="${command:+$command }$word"
    options=''
    case "$command" in
)",
                      OptionCases(), R"(    esac
    [ -z "$options" ] || longest="$options"
  done
  case "$command" in
)",
                      Cases(), R"(  esac
)");
}

absl::Status Completion(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string shell, context.Word(0, "the shell (bash or zsh)"));
  if (shell == "bash") {
    *context.out << "# bash completion of pgactl; use: source <(pgactl completion bash)\n"
                    "_pgactl() {\n"
                    "  local current=\"${COMP_WORDS[COMP_CWORD]}\"\n"
                    "  local -a line=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\n"
                 << Body()
                 << "  case \"$current\" in\n"
                    "    -*) COMPREPLY=($(compgen -W \"$longest\" -- \"$current\")) ;;\n"
                    "    *) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n"
                    "  esac\n"
                    "}\n"
                    "complete -o default -F _pgactl pgactl\n";
    return absl::OkStatus();
  }
  if (shell == "zsh") {
    *context.out << "#compdef pgactl\n# zsh completion of pgactl; use: source <(pgactl completion zsh)\n"
                    "_pgactl() {\n"
                    "  local current=\"${words[CURRENT]}\"\n"
                    "  local -a line\n"
                    "  line=(\"${(@)words[2,CURRENT-1]}\")\n"
                 << Body()
                 << "  case \"$current\" in\n"
                    "    -*) compadd -- ${=longest} ;;\n"
                    "    *) if [ -n \"$words\" ]; then compadd -- ${=words}; else _files; fi ;;\n"
                    "  esac\n"
                    "}\n"
                    "compdef _pgactl pgactl\n";
    return absl::OkStatus();
  }
  return UsageError("'" + shell.substr(0, 60) + "' is not known; use bash or zsh");
}

}  // namespace

std::vector<Command> CompletionCommands() {
  return {{"completion", "SHELL", "script that completes pgactl's commands in bash or zsh", {}, Completion}};
}

}  // namespace pga::pgactl
