-- What the built-in gateway does to every request and answer, whatever the method: request id, CORS, which headers go on to the
-- services; on the way back the form of errors, statuses, headers.
local ORIGINS = {${ORIGINS}}
local HTTPS = ${HTTPS}
local TRUSTS_PROXIES = ${TRUSTS_PROXIES}
local PRODUCTION = ${PRODUCTION}
local MOST_URL_BYTES = ${MAX_URL_BYTES}
local MOST_CREDENTIAL_BYTES = 8192
local METADATA = "envoy.filters.http.lua"

-- Headers that go on; everything else of the client ends here, among it all by which services speak to each other.
local PASSED = {}
for _, name in ipairs({"accept", "accept-encoding", "authorization", "content-encoding", "content-length", "content-type", "cookie", "expect",
                       "host", "if-none-match", "last-event-id", "mcp-protocol-version", "mcp-session-id", "origin", "te", "transfer-encoding",
                       "x-forwarded-for", "x-forwarded-proto", "x-registration-secret", "x-request-id", "x-session"}) do
  PASSED[name] = true
end
-- Headers of answers; what else services say in metadata is theirs.
local ANSWERED = {}
for _, name in ipairs({"allow", "cache-control", "content-disposition", "content-encoding", "content-length", "content-security-policy",
                       "content-type", "date", "etag", "last-modified", "location", "mcp-session-id", "permissions-policy", "referrer-policy",
                       "retry-after", "set-cookie", "strict-transport-security", "transfer-encoding", "vary", "www-authenticate",
                       "x-config-version", "x-content-type-options", "x-frame-options", "x-ratelimit-limit", "x-ratelimit-remaining",
                       "x-ratelimit-reset", "x-request-id", "x-xss-protection"}) do
  ANSWERED[name] = true
end
local HTTP_OF_GRPC = {[0] = 200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
local PHRASES = {[400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found", [405] = "Method Not Allowed",
                 [408] = "Request Timeout", [409] = "Conflict", [413] = "Payload Too Large", [414] = "URI Too Long",
                 [415] = "Unsupported Media Type", [429] = "Too Many Requests", [431] = "Request Header Fields Too Large",
                 [499] = "Client Closed Request", [500] = "Internal Server Error", [501] = "Not Implemented", [502] = "Bad Gateway",
                 [503] = "Service Unavailable", [504] = "Gateway Timeout"}
-- What a service did not word itself.
local WORDS = {[499] = "The request was cancelled.", [500] = "Something failed inside pgAnalytics; the log has more under this request id.",
               [501] = "The service does not offer this method; is it of an older version?",
               [503] = "The service for this request cannot be reached right now; try again.",
               [504] = "The request took too long; ask for less or try again."}

local made = 0
local function request_id(handle, given)
  if given ~= nil and #given <= 128 and given:match("^[%w%-_.:]+$") then return given end
  made = made + 1
  return string.format("%s-%x-%x", handle:timestampString(EnvoyTimestampResolution.MICROSECOND), made, math.random(0, 0x7fffffff))
end

local function json(text)
  return '"' .. text:gsub('[%c"\\\127]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
end

local function unpercent(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local BASE64 = {}
for i = 0, 63 do BASE64[("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):byte(i + 1)] = i end
local function unbase64(text)
  local out, bits, count = {}, 0, 0
  for i = 1, #text do
    local value = BASE64[text:byte(i)]
    if value ~= nil then
      bits, count = bits * 64 + value, count + 6
      if count >= 8 then
        count = count - 8
        local high = math.floor(bits / 2 ^ count)
        out[#out + 1] = string.char(high)
        bits = bits - high * 2 ^ count
      end
    end
  end
  return table.concat(out)
end

-- Calls take(number, value) for every field of a protobuf message: text for length-delimited ones, numbers for varints.
local function fields(message, take)
  local at = 1
  local function varint()
    local value, factor = 0, 1
    while at <= #message do
      local byte = message:byte(at)
      at = at + 1
      value = value + (byte % 128) * factor
      if byte < 128 then break end
      factor = factor * 128
    end
    return value
  end
  while at <= #message do
    local key = varint()
    local kind = key % 8
    if kind == 0 then
      take(math.floor(key / 8), varint())
    elseif kind == 2 then
      local size = varint()
      take(math.floor(key / 8), message:sub(at, at + size - 1))
      at = at + size
    else
      return
    end
  end
end

-- google.rpc.Status as the gateway reads it: message, reason, details, seconds to wait.
local function read_status(bytes)
  local status = {details = {}}
  local function violations(value, subject_field, description_field)
    fields(value, function(number, violation)
      if number ~= 1 then return end
      local subject, description = "", ""
      fields(violation, function(inner, text)
        if inner == subject_field then subject = text elseif inner == description_field then description = text end
      end)
      status.details[#status.details + 1] = subject == "" and description or subject .. ": " .. description
    end)
  end
  fields(bytes, function(number, value)
    if number == 2 then status.message = value end
    if number ~= 3 then return end
    local kind, inside = "", ""
    fields(value, function(inner, text)
      if inner == 1 then kind = text:match("[^.]*$") elseif inner == 2 then inside = text end
    end)
    if kind == "ErrorInfo" then
      fields(inside, function(inner, text) if inner == 1 then status.reason = text end end)
    elseif kind == "RetryInfo" then
      fields(inside, function(_, duration)
        local seconds = 0
        fields(duration, function(inner, amount) seconds = seconds + (inner == 1 and amount or amount / 1e9) end)
        status.retry_after = math.max(1, math.ceil(seconds))
      end)
    elseif kind == "BadRequest" then
      violations(inside, 1, 2)
    elseif kind == "PreconditionFailure" then
      violations(inside, 2, 3)
    elseif kind == "QuotaFailure" then
      violations(inside, 1, 2)
    end
  end)
  return status
end

local function allows(origin)
  for _, allowed in ipairs(ORIGINS) do
    if allowed == origin then return true end
  end
  return false
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local id = request_id(handle, headers:get("x-request-id"))
  headers:replace("x-request-id", id)
  local state = handle:streamInfo():dynamicMetadata()
  local function note(key, value) state:set("pganalytics", key, value) end
  note("request_id", id)
  local verb, path = headers:get(":method"), headers:get(":path") or ""
  note("verb", verb)
  local origin = headers:get("origin")
  if origin ~= nil then note("origin", origin) end
  if #path > MOST_URL_BYTES then
    handle:respond({[":status"] = "414"}, "The URL is longer than " .. MOST_URL_BYTES .. " bytes.")
    return
  end
  if path:sub(1, 1) ~= "/" or path:find("[^\33-\126]") then
    handle:respond({[":status"] = "400"}, "The request target must be a path, with everything but printable ASCII percent-encoded.")
    return
  end
  if verb == "OPTIONS" and origin ~= nil and headers:get("access-control-request-method") ~= nil then
    if allows(origin) then
      note("preflight", "yes")
      handle:respond({[":status"] = "204"}, "")
    else
      handle:respond({[":status"] = "403"}, "This origin may not call the API; add it to CORS_ALLOWED_ORIGINS.")
    end
    return
  end
  local removed = {}
  for name in pairs(headers) do
    if not PASSED[name] and name:sub(1, 1) ~= ":" then removed[#removed + 1] = name end
  end
  for _, name in ipairs(removed) do headers:remove(name) end
  -- The built-in gateway believes this header of trusted proxies alone; here all that come in are one network.
  if HTTPS or not TRUSTS_PROXIES or headers:get("x-forwarded-proto") ~= "https" then
    headers:replace("x-forwarded-proto", HTTPS and "https" or "http")
  end
  if headers:get("content-encoding") ~= nil and headers:get("content-encoding"):lower() == "identity" then
    headers:remove("content-encoding")
  end
  local sessions = {}
  for pair in (headers:get("cookie") or ""):gmatch("[^;]+") do
    local session = pair:match("^ *(pganalytics_session=.*)$")
    if session ~= nil then sessions[#sessions + 1] = session end
  end
  if #sessions > 0 then headers:replace("cookie", sessions[1]) else headers:remove("cookie") end
  -- What is one file of the console needs no credential and is not judged by one.
  if (verb ~= "GET" and verb ~= "HEAD") or path:match("^/api$") or path:match("^/api[/?]") or path:match("^/version") then
    for _, name in ipairs({"authorization", "x-registration-secret"}) do
      local value = headers:get(name)
      if value ~= nil and (#value > MOST_CREDENTIAL_BYTES or value:find("[^\32-\126]")) then
        handle:respond({[":status"] = "400"}, "The header " .. name .. " is longer than 8 KiB or holds other bytes than printable ASCII.")
        return
      end
    end
  end
end

-- The body of an error: worded by a service (`grpc`, in the headers of its answer), else by Envoy in `text`.
local function error_body(state, status, said, text)
  local message, reason, details, retry_after = text, nil, nil, nil
  if said.code ~= nil then
    local read = said.details ~= nil and read_status(unbase64(said.details)) or {details = {}}
    message = read.message or unpercent(said.message or "")
    if said.details == nil then message = WORDS[status] or message end
    reason, retry_after = read.reason, read.retry_after
    if #read.details > 0 then details = table.concat(read.details, "; ") end
  elseif status >= 500 then
    message = WORDS[status] or message
  end
  if message == nil or message == "" then message = PHRASES[status] or "Error" end
  local body = '{"error":' .. json(PHRASES[status] or "Error") .. ',"message":' .. json(message) .. ',"code":' .. status
  if details ~= nil then body = body .. ',"details":' .. json(details) end
  if reason ~= nil and reason ~= "" then body = body .. ',"reason":' .. json(reason) end
  if state.request_id ~= nil then body = body .. ',"request_id":' .. json(state.request_id) end
  return body .. "}", retry_after
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local state = handle:streamInfo():dynamicMetadata():get("pganalytics") or {}
  local status = tonumber(headers:get(":status")) or 500
  local said = {code = tonumber(headers:get("grpc-status") or ""), message = headers:get("grpc-message"),
                details = headers:get("grpc-status-details-bin")}
  if said.code == 0 then said = {} end
  if said.code ~= nil then
    status = HTTP_OF_GRPC[said.code] or 500
    headers:replace(":status", tostring(status))
  end
  local success = headers:get("x-http-code")
  if status == 200 and success ~= nil and success:match("^[2-5]%d%d$") then
    status = tonumber(success)
    headers:replace(":status", success)
  end
  local packed = headers:get("x-content-encoding")
  if packed ~= nil and status < 400 then headers:replace("content-encoding", packed) end
  local kind = headers:get("content-type") or ""
  local worded = kind:sub(1, 16) == "application/json"
  local wording = status >= 400 and (said.code ~= nil or not worded)
  if wording then headers:replace("content-type", "application/json") end
  if status == 204 then
    headers:remove("content-type")
    headers:remove("content-length")
  end
  if status == 401 and headers:get("www-authenticate") == nil then headers:add("www-authenticate", 'Bearer realm="pganalytics"') end

  local removed = {}
  for name in pairs(headers) do
    if not ANSWERED[name] and name:sub(1, 1) ~= ":" then removed[#removed + 1] = name end
  end
  for _, name in ipairs(removed) do headers:remove(name) end
  local function default(name, value)
    if headers:get(name) == nil then headers:add(name, value) end
  end
  -- Nobody has seen the request where it was no HTTP.
  if state.request_id ~= nil then default("x-request-id", state.request_id) end
  default("x-frame-options", "DENY")
  default("x-content-type-options", "nosniff")
  default("x-xss-protection", "1; mode=block")
  default("referrer-policy", "strict-origin-when-cross-origin")
  default("content-security-policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'")
  default("permissions-policy", "geolocation=(), microphone=(), camera=()")
  default("cache-control", "no-store")
  if PRODUCTION then default("strict-transport-security", "max-age=31536000; includeSubDomains; preload") end
  if #ORIGINS > 0 then default("vary", "Origin") end
  if state.origin ~= nil and allows(state.origin) then
    headers:replace("access-control-allow-origin", state.origin)
    headers:replace("access-control-allow-credentials", "true")
    if state.preflight == "yes" then
      headers:replace("access-control-allow-methods", "GET, POST, PUT, DELETE, PATCH, OPTIONS")
      headers:replace("access-control-allow-headers", "Content-Type, Authorization, X-Registration-Secret, X-Request-Id")
      headers:replace("access-control-max-age", "3600")
    else
      headers:replace("access-control-expose-headers",
                      "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, X-Config-Version")
    end
  end

  -- Waiting for the body ends what was read of the headers before.
  if wording then
    local body = handle:body(true)
    if body == nil then return end
    local text = said.code == nil and body:length() > 0 and body:getBytes(0, math.min(body:length(), 2000)) or ""
    local retry_after
    text, retry_after = error_body(state, status, said, text)
    local size = body:setBytes(state.verb == "HEAD" and "" or text)
    headers = handle:headers()
    headers:replace("content-length", tostring(state.verb == "HEAD" and #text or size))
    if retry_after ~= nil and headers:get("retry-after") == nil then headers:add("retry-after", tostring(retry_after)) end
  elseif status == 204 or state.verb == "HEAD" then
    for chunk in handle:bodyChunks() do chunk:setBytes("") end
  end
end
