#include "libs/token/principal.h"

#include <algorithm>

namespace pga::token {

Role ParseRole(std::string_view name) {
  if (name == "admin") return Role::kAdmin;
  if (name == "user") return Role::kUser;
  if (name == "viewer") return Role::kViewer;
  return Role::kNone;
}

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kAdmin:
      return "admin";
    case Role::kUser:
      return "user";
    case Role::kViewer:
      return "viewer";
    case Role::kNone:
      break;
  }
  return "";
}

bool IsCollectorId(std::string_view id) {
  return !id.empty() && id.size() <= 63 && id[0] != '.' && id[0] != '-' && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
  });
}

bool InGroup(const Principal& principal, std::string_view group) {
  switch (principal.kind) {
    case Principal::kAnonymous:
      return false;
    case Principal::kService:
      return true;
    case Principal::kUser:
    case Principal::kCollector:
      break;
  }
  return principal.all_groups || std::ranges::find(principal.groups, group) != principal.groups.end();
}

bool Allow(const Principal& principal, const Access& access, std::string_view group) {
  if (!group.empty() && !InGroup(principal, group)) return false;
  if (access.anonymous) return true;
  switch (principal.kind) {
    case Principal::kAnonymous:
      return false;
    case Principal::kUser:
      return access.user != Role::kNone && ParseRole(principal.role) >= access.user;
    case Principal::kCollector:
      return access.collector;
    case Principal::kService:
      return (access.services & ServiceBit(principal.service)) != 0;
  }
  return false;
}

std::string UserSubject(int32_t user_id) {
  return "user:" + std::to_string(user_id);
}
std::string ApiTokenSubject(std::string_view id) {
  return "token:" + std::string(id);
}
std::string CollectorSubject(std::string_view collector_id) {
  return "collector:" + std::string(collector_id);
}
std::string ServiceSubject(std::string_view service) {
  return "service:" + std::string(service);
}

}  // namespace pga::token
