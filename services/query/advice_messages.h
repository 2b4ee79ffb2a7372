// Advice as messages.
#pragma once

#include "pganalytics/query/v1/advice_service.pb.h"
#include "services/query/insight/advice.h"

namespace pga::query {

void FillAdvice(const Advice& from, const SourceFacts& facts, ::pganalytics::query::v1::Advice* to);
void FillNotJudged(const NotJudged& from, const SourceFacts& facts, ::pganalytics::query::v1::NotJudged* to);

}  // namespace pga::query
