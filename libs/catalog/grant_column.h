// The column by which a row says that the login may not read all of it.
#pragma once

namespace pga::catalog {

// An info column of type text: the command that lets the login read the rest of the row; NULL where it may read all.
inline constexpr char kGrantColumn[] = "grant_needed";

}  // namespace pga::catalog
