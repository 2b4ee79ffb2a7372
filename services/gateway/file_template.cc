#include "services/gateway/file_template.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::gateway {
namespace {

class Filler {
 public:
  explicit Filler(std::string_view text) {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      lines_.push_back(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  absl::StatusOr<std::string> Run(const TemplateValues& values) {
    scopes_ = {&values};
    PGA_RETURN_IF_ERROR(Fill(0, lines_.size()));
    return std::move(out_);
  }

 private:
  absl::Status Fail(size_t line, std::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", line + 1, ": ", absl::string_view(what.data(), what.size())));
  }

  static std::string_view Directive(std::string_view line) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    const bool is = line.starts_with("#if ") || line.starts_with("#for ") || line == "#end";
    return is ? line : std::string_view();
  }

  const std::string* FindText(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = (*scope)->texts.find(name); found != (*scope)->texts.end()) return &found->second;
    }
    return nullptr;
  }
  const std::vector<TemplateValues>* FindList(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = (*scope)->lists.find(name); found != (*scope)->lists.end()) return &found->second;
    }
    return nullptr;
  }

  absl::Status Fill(size_t begin, size_t end) {
    for (size_t at = begin; at < end; ++at) {
      const std::string_view directive = Directive(lines_[at]);
      if (directive.empty()) {
        PGA_RETURN_IF_ERROR(FillLine(at));
        continue;
      }
      if (directive == "#end") return Fail(at, "#end without a beginning");
      size_t close = at + 1;
      for (int depth = 1; close < end; ++close) {
        const std::string_view inner = Directive(lines_[close]);
        if (inner == "#end" && --depth == 0) break;
        if (!inner.empty() && inner != "#end") ++depth;
      }
      if (close == end) return Fail(at, "this directive has no #end");
      std::string_view name = directive.substr(directive.find(' ') + 1);
      const bool negated = name.starts_with('!');
      if (negated) name.remove_prefix(1);
      const std::string* const text = FindText(name);
      const std::vector<TemplateValues>* const list = FindList(name);
      if (text == nullptr && list == nullptr) return Fail(at, absl::StrCat(std::string(name), " has no value"));
      if (directive.starts_with("#if ")) {
        const bool holds = text != nullptr ? !text->empty() : !list->empty();
        if (holds != negated) PGA_RETURN_IF_ERROR(Fill(at + 1, close));
      } else {
        if (list == nullptr) return Fail(at, absl::StrCat(std::string(name), " is no list"));
        for (const TemplateValues& one : *list) {
          scopes_.push_back(&one);
          PGA_RETURN_IF_ERROR(Fill(at + 1, close));
          scopes_.pop_back();
        }
      }
      at = close;
    }
    return absl::OkStatus();
  }

  absl::Status FillLine(size_t at) {
    std::string_view line = lines_[at];
    for (size_t mark = line.find("${"); mark != std::string_view::npos; mark = line.find("${")) {
      const size_t close = line.find('}', mark);
      if (close == std::string_view::npos) return Fail(at, "${ without }");
      const std::string_view name = line.substr(mark + 2, close - mark - 2);
      out_ += line.substr(0, mark);
      line.remove_prefix(close + 1);
      // As people write it where it is explained.
      if (name == " ") {
        out_ += "${ }";
        continue;
      }
      const std::string* const text = FindText(name);
      if (text == nullptr) return Fail(at, absl::StrCat(std::string(name), " has no value"));
      out_ += *text;
    }
    out_ += line;
    out_ += '\n';
    return absl::OkStatus();
  }

  std::vector<std::string_view> lines_;
  std::vector<const TemplateValues*> scopes_;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> FillTemplate(std::string_view text, const TemplateValues& values) {
  return Filler(text).Run(values);
}

}  // namespace pga::gateway
