#include "services/collector/log_severity.h"

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace pga::collector {
namespace {

struct NamedWord {
  const char* text;
  LogWord word;
};

// As the message catalogs of PostgreSQL have them.
constexpr NamedWord kWords[] = {
    {"DEBUG", {LogPart::kMessage, LogSeverity::kDebug}},
    {"DEBUG1", {LogPart::kMessage, LogSeverity::kDebug}},
    {"DEBUG2", {LogPart::kMessage, LogSeverity::kDebug}},
    {"DEBUG3", {LogPart::kMessage, LogSeverity::kDebug}},
    {"DEBUG4", {LogPart::kMessage, LogSeverity::kDebug}},
    {"DEBUG5", {LogPart::kMessage, LogSeverity::kDebug}},
    {"디버그", {LogPart::kMessage, LogSeverity::kDebug}},
    {"ОТЛАДКА", {LogPart::kMessage, LogSeverity::kDebug}},
    {"НАЛАГОДЖЕННЯ", {LogPart::kMessage, LogSeverity::kDebug}},
    {"გამართვა", {LogPart::kMessage, LogSeverity::kDebug}},
    {"除錯", {LogPart::kMessage, LogSeverity::kDebug}},
    {"调试", {LogPart::kMessage, LogSeverity::kDebug}},
    {"INFO", {LogPart::kMessage, LogSeverity::kInfo}},
    {"정보", {LogPart::kMessage, LogSeverity::kInfo}},
    {"ИНФОРМАЦИЯ", {LogPart::kMessage, LogSeverity::kInfo}},
    {"ІНФОРМАЦІЯ", {LogPart::kMessage, LogSeverity::kInfo}},
    {"ინფორმაცია", {LogPart::kMessage, LogSeverity::kInfo}},
    {"資訊", {LogPart::kMessage, LogSeverity::kInfo}},
    {"信息", {LogPart::kMessage, LogSeverity::kInfo}},
    {"NOTICE", {LogPart::kMessage, LogSeverity::kNotice}},
    {"HINWEIS", {LogPart::kMessage, LogSeverity::kNotice}},
    {"알림", {LogPart::kMessage, LogSeverity::kNotice}},
    {"ЗАМЕЧАНИЕ", {LogPart::kMessage, LogSeverity::kNotice}},
    {"ПОВІДОМЛЕННЯ", {LogPart::kMessage, LogSeverity::kNotice}},
    {"NOTIFICA", {LogPart::kMessage, LogSeverity::kNotice}},
    {"注意", {LogPart::kMessage, LogSeverity::kNotice}},
    {"NOTIS", {LogPart::kMessage, LogSeverity::kNotice}},
    {"WARNING", {LogPart::kMessage, LogSeverity::kWarning}},
    {"WARNUNG", {LogPart::kMessage, LogSeverity::kWarning}},
    {"경고", {LogPart::kMessage, LogSeverity::kWarning}},
    {"ПРЕДУПРЕЖДЕНИЕ", {LogPart::kMessage, LogSeverity::kWarning}},
    {"ПОПЕРЕДЖЕННЯ", {LogPart::kMessage, LogSeverity::kWarning}},
    {"ATTENTION", {LogPart::kMessage, LogSeverity::kWarning}},
    {"ATTENZIONE", {LogPart::kMessage, LogSeverity::kWarning}},
    {"გაფრთხილება", {LogPart::kMessage, LogSeverity::kWarning}},
    {"警告", {LogPart::kMessage, LogSeverity::kWarning}},
    {"VARNING", {LogPart::kMessage, LogSeverity::kWarning}},
    {"LOG", {LogPart::kMessage, LogSeverity::kLog}},
    {"로그", {LogPart::kMessage, LogSeverity::kLog}},
    {"СООБЩЕНИЕ", {LogPart::kMessage, LogSeverity::kLog}},
    {"ЗАПИСУВАННЯ", {LogPart::kMessage, LogSeverity::kLog}},
    {"ჟურნალი", {LogPart::kMessage, LogSeverity::kLog}},
    {"日誌", {LogPart::kMessage, LogSeverity::kLog}},
    {"日志", {LogPart::kMessage, LogSeverity::kLog}},
    {"LOGG", {LogPart::kMessage, LogSeverity::kLog}},
    {"ERROR", {LogPart::kMessage, LogSeverity::kError}},
    {"FEHLER", {LogPart::kMessage, LogSeverity::kError}},
    {"오류", {LogPart::kMessage, LogSeverity::kError}},
    {"ОШИБКА", {LogPart::kMessage, LogSeverity::kError}},
    {"ПОМИЛКА", {LogPart::kMessage, LogSeverity::kError}},
    {"ERREUR", {LogPart::kMessage, LogSeverity::kError}},
    {"ERRORE", {LogPart::kMessage, LogSeverity::kError}},
    {"შეცდომა", {LogPart::kMessage, LogSeverity::kError}},
    {"錯誤", {LogPart::kMessage, LogSeverity::kError}},
    {"错误", {LogPart::kMessage, LogSeverity::kError}},
    {"FEL", {LogPart::kMessage, LogSeverity::kError}},
    {"FATAL", {LogPart::kMessage, LogSeverity::kFatal}},
    {"치명적오류", {LogPart::kMessage, LogSeverity::kFatal}},
    {"ВАЖНО", {LogPart::kMessage, LogSeverity::kFatal}},
    {"ФАТАЛЬНО", {LogPart::kMessage, LogSeverity::kFatal}},
    {"FATALE", {LogPart::kMessage, LogSeverity::kFatal}},
    {"ფატალური", {LogPart::kMessage, LogSeverity::kFatal}},
    {"致命錯誤", {LogPart::kMessage, LogSeverity::kFatal}},
    {"致命错误", {LogPart::kMessage, LogSeverity::kFatal}},
    {"FATALT", {LogPart::kMessage, LogSeverity::kFatal}},
    {"PANIC", {LogPart::kMessage, LogSeverity::kPanic}},
    {"PANIK", {LogPart::kMessage, LogSeverity::kPanic}},
    {"손상", {LogPart::kMessage, LogSeverity::kPanic}},
    {"ПАНИКА", {LogPart::kMessage, LogSeverity::kPanic}},
    {"ПАНІКА", {LogPart::kMessage, LogSeverity::kPanic}},
    {"PANICO", {LogPart::kMessage, LogSeverity::kPanic}},
    {"პანიკა", {LogPart::kMessage, LogSeverity::kPanic}},
    {"嚴重錯誤", {LogPart::kMessage, LogSeverity::kPanic}},
    {"灾难性错误", {LogPart::kMessage, LogSeverity::kPanic}},
    {"DETAIL", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"詳細", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"상세정보", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"DETALLE", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"ПОДРОБНОСТИ", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"ВІДОМОСТІ", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"DÉTAIL", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"DETTAGLI", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"დეტალები", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"詳情", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"详情", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"DETALJ", {LogPart::kDetail, LogSeverity::kUnknown}},
    {"HINT", {LogPart::kHint, LogSeverity::kUnknown}},
    {"TIPP", {LogPart::kHint, LogSeverity::kUnknown}},
    {"ヒント", {LogPart::kHint, LogSeverity::kUnknown}},
    {"힌트", {LogPart::kHint, LogSeverity::kUnknown}},
    {"ПОДСКАЗКА", {LogPart::kHint, LogSeverity::kUnknown}},
    {"УКАЗІВКА", {LogPart::kHint, LogSeverity::kUnknown}},
    {"ASTUCE", {LogPart::kHint, LogSeverity::kUnknown}},
    {"SUGGERIMENTO", {LogPart::kHint, LogSeverity::kUnknown}},
    {"მინიშნება", {LogPart::kHint, LogSeverity::kUnknown}},
    {"提示", {LogPart::kHint, LogSeverity::kUnknown}},
    {"TIPS", {LogPart::kHint, LogSeverity::kUnknown}},
    {"QUERY", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"ANFRAGE", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"問い合わせ", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"쿼리", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"CONSULTA", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"ЗАПРОС", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"ЗАПИТ", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"REQUÊTE", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"მოთხოვნა", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"查詢", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"查询", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"FRÅGA", {LogPart::kQuery, LogSeverity::kUnknown}},
    {"CONTEXT", {LogPart::kContext, LogSeverity::kUnknown}},
    {"ZUSAMMENHANG", {LogPart::kContext, LogSeverity::kUnknown}},
    {"文脈", {LogPart::kContext, LogSeverity::kUnknown}},
    {"내용", {LogPart::kContext, LogSeverity::kUnknown}},
    {"CONTEXTO", {LogPart::kContext, LogSeverity::kUnknown}},
    {"КОНТЕКСТ", {LogPart::kContext, LogSeverity::kUnknown}},
    {"CONTEXTE", {LogPart::kContext, LogSeverity::kUnknown}},
    {"CONTESTO", {LogPart::kContext, LogSeverity::kUnknown}},
    {"კონტექსტი", {LogPart::kContext, LogSeverity::kUnknown}},
    {"上下文", {LogPart::kContext, LogSeverity::kUnknown}},
    {"KONTEXT", {LogPart::kContext, LogSeverity::kUnknown}},
    {"LOCATION", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"ORT", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"場所", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"위치", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"UBICACIÓN", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"ПОЛОЖЕНИЕ", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"РОЗТАШУВАННЯ", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"EMPLACEMENT", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"POSIZIONE", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"მდებარეობა", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"位置", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"PLATS", {LogPart::kLocation, LogSeverity::kUnknown}},
    {"STATEMENT", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"ANWEISUNG", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"文", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"명령 구문", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"SENTENCIA", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"ОПЕРАТОР", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"ІНСТРУКЦІЯ", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"INSTRUCTION", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"ISTRUZIONE", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"ოპერატორი", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"陳述式", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"语句", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"SATS", {LogPart::kStatement, LogSeverity::kUnknown}},
    {"BACKTRACE", {LogPart::kBacktrace, LogSeverity::kUnknown}},
    {"バックトレース", {LogPart::kBacktrace, LogSeverity::kUnknown}},
    {"역추적", {LogPart::kBacktrace, LogSeverity::kUnknown}},
    {"СТЕК", {LogPart::kBacktrace, LogSeverity::kUnknown}},
    {"ВІДСТЕЖУВАТИ", {LogPart::kBacktrace, LogSeverity::kUnknown}},
    {"PILE D'APPEL", {LogPart::kBacktrace, LogSeverity::kUnknown}},
    {"სტეკი", {LogPart::kBacktrace, LogSeverity::kUnknown}},
    {"回溯", {LogPart::kBacktrace, LogSeverity::kUnknown}},
};
// Bytes of the longest one.
constexpr size_t kLongestWord = 64;

const absl::flat_hash_map<absl::string_view, LogWord>& Words() {
  static const auto* const kMap = [] {
    auto* const map = new absl::flat_hash_map<absl::string_view, LogWord>;
    for (const NamedWord& named : kWords) map->emplace(named.text, named.word);
    return map;
  }();
  return *kMap;
}

}  // namespace

const char* SeverityName(LogSeverity severity) {
  switch (severity) {
    case LogSeverity::kDebug:
      return "DEBUG";
    case LogSeverity::kInfo:
      return "INFO";
    case LogSeverity::kNotice:
      return "NOTICE";
    case LogSeverity::kWarning:
      return "WARNING";
    case LogSeverity::kLog:
      return "LOG";
    case LogSeverity::kError:
      return "ERROR";
    case LogSeverity::kFatal:
      return "FATAL";
    case LogSeverity::kPanic:
      return "PANIC";
    case LogSeverity::kUnknown:
      break;
  }
  return "unknown";
}

LogSeverity SeverityOf(std::string_view word) {
  const auto found = Words().find(absl::string_view(word.data(), word.size()));
  return found == Words().end() ? LogSeverity::kUnknown : found->second.severity;
}

size_t ReadLogWord(std::string_view text, LogWord* word) {
  const size_t colon = text.substr(0, kLongestWord).find(':');
  if (colon == std::string_view::npos || colon == 0) return 0;
  // French puts a blank before the colon.
  const size_t end = text[colon - 1] == ' ' ? colon - 1 : colon;
  const auto found = Words().find(absl::string_view(text.data(), end));
  if (found == Words().end()) return 0;
  size_t at = colon + 1;
  for (int blanks = 0; blanks < 2 && at < text.size() && text[at] == ' '; ++blanks) ++at;
  // English has two blanks; a word with one is a part of some text.
  if (at - colon == 2 && found->second.part == LogPart::kMessage) return 0;
  *word = found->second;
  return at;
}

}  // namespace pga::collector
