-- Refuses what the built-in gateway refuses and the transcoder would take: parameters that say a thing twice, bodies where there is
-- none. The route says what the method takes.
local MOST_BODY_BYTES = ${MAX_BODY_BYTES}
local SMALL_BODY_BYTES = math.min(65536, MOST_BODY_BYTES)
local MOST_PARAMETERS = 100

local function decode(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function is_utf8(text)
  local at = 1
  while at <= #text do
    local byte = text:byte(at)
    if byte < 0x80 then
      at = at + 1
    else
      local more, low, high = 0, 0x80, 0xBF
      if byte >= 0xC2 and byte <= 0xDF then more = 1
      elseif byte >= 0xE0 and byte <= 0xEF then
        more = 2
        if byte == 0xE0 then low = 0xA0 elseif byte == 0xED then high = 0x9F end
      elseif byte >= 0xF0 and byte <= 0xF4 then
        more = 3
        if byte == 0xF0 then low = 0x90 elseif byte == 0xF4 then high = 0x8F end
      else return false end
      for i = 1, more do
        local next_byte = text:byte(at + i)
        if next_byte == nil or next_byte < low or next_byte > high then return false end
        low, high = 0x80, 0xBF
      end
      at = at + more + 1
    end
  end
  return true
end

local function contains(list, value)
  for _, one in ipairs(list or {}) do
    if one == value then return true end
  end
  return false
end

function envoy_on_request(handle)
  local method = handle:metadata()
  local body = method:get("body")
  if body == nil then return end
  local headers = handle:headers()
  local function refuse(status, text) handle:respond({[":status"] = status}, text) end

  if headers:get(":method") == "HEAD" then headers:replace(":method", "GET") end
  local path = headers:get(":path")
  local question = path:find("?", 1, true)
  local place = question == nil and path or path:sub(1, question - 1)
  local query = question == nil and "" or path:sub(question + 1)
  local plain_place = decode(place:gsub("+", "%%2B"))
  if plain_place:find("\0", 1, true) then return refuse("400", "The path holds the character NUL (%00); remove it.") end
  if not is_utf8(plain_place) then return refuse("400", "Encountered non UTF-8 code points in the path.") end
  -- What is read of the route is gone after the body.
  local times = {}
  for _, name in ipairs(method:get("times") or {}) do times[#times + 1] = name end
  local seen, count, kept = {}, 0, {}
  for pair in query:gmatch("[^&]*&?") do
    if pair == "" then break end
    pair = pair:gsub("&$", "")
    count = count + 1
    if count > MOST_PARAMETERS then return refuse("400", "The URL has more than 100 query parameters; send fewer.") end
    local name, value = pair:match("^([^=]+)=(.*)$")
    if name ~= nil then
      local plain_name, plain_value = decode(name), decode(value)
      if not is_utf8(plain_name) or not is_utf8(plain_value) then return refuse("400", "Encountered non UTF-8 code points in the URL.") end
      if plain_name:find("\0", 1, true) or plain_value:find("\0", 1, true) then
        return refuse("400", "The URL holds the character NUL (%00); remove it.")
      end
      if body == "all" then
        return refuse("400", "Query parameter \"" .. plain_name .. "\" must be sent in the body: this method takes all its fields from there.")
      end
      local single = (method:get("single") or {})[plain_name]
      if contains(method:get("bound"), single or plain_name) then
        return refuse("400", "Query parameter \"" .. plain_name .. "\" is already given by the path; remove it from the query.")
      end
      if single ~= nil then
        if seen[single] then return refuse("400", "Query parameter \"" .. single .. "\" is given more than once; send it once.") end
        seen[single] = true
      end
      -- A leap second is no instant to the gateway.
      if contains(times, plain_name) and plain_value:match("^%d+%-%d+%-%d+[Tt]%d+:%d+:60") then
        return refuse("400", plain_name .. " is no instant: a minute has 60 seconds.")
      end
      -- The `+` of an offset that was not escaped.
      if plain_value:match("^%d+%-%d+%-%d+[Tt].* ") then value = value:gsub("+", "%%2B"):gsub("%%20", "%%2B") end
      kept[#kept + 1] = name .. "=" .. value
    end
  end
  local rest = table.concat(kept, "&")
  headers:replace(":path", rest == "" and place or place .. "?" .. rest)

  local small = body == "none" or headers:get("authorization") == nil
  local most = small and SMALL_BODY_BYTES or MOST_BODY_BYTES
  if (tonumber(headers:get("content-length") or "") or 0) > most then
    return refuse("413", "The request body is larger than " .. most .. " bytes; send less at a time.")
  end
  local sent = (tonumber(headers:get("content-length") or "") or 0) > 0 or headers:get("transfer-encoding") ~= nil
  if sent and body ~= "raw" then
    local given = handle:body(true)
    local text = given:length() > 0 and given:getBytes(0, given:length()) or ""
    if #text > most then return refuse("413", "The request body is larger than " .. most .. " bytes; send less at a time.") end
    local blank = not text:find("[^ \t\r\n]")
    if body == "none" then
      if not blank and text ~= "{}" then return refuse("400", "This method takes no body; send its fields as query parameters.") end
      blank = true
    elseif not is_utf8(text) then
      return refuse("400", "Encountered non UTF-8 code points in the body; send JSON in UTF-8.")
    end
    -- Instants: the gateway takes no leap second, and more digits than a nanosecond has.
    local cut = text
    for _, name in ipairs(times) do
      local instant = '("' .. name .. '"%s*:%s*"%d+%-%d+%-%d+T%d+:%d+:'
      if cut:find(instant .. "60)") then return refuse("400", name .. " is no instant: a minute has 60 seconds.") end
      cut = cut:gsub(instant .. "%d+%.%d%d%d%d%d%d%d%d%d)%d+", "%1")
    end
    if cut ~= text then
      local size = given:setBytes(cut)
      if handle:headers():get("content-length") ~= nil then handle:headers():replace("content-length", tostring(size)) end
    end
    if blank and #text > 0 then
      given:setBytes("")
      -- What was read of the headers before the body is gone.
      if handle:headers():get("content-length") ~= nil then handle:headers():replace("content-length", "0") end
    end
  end
end
