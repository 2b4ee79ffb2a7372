-- Frames and blocks for people: the bytes of libs/columns read in SQL and PL/pgSQL alone, without an extension. The
-- functions readable.<metric>(from, to) and views readable.<metric> are made of the catalog by metrics.apply_readable()
-- (0005_readable_steps) and call what is here. None of these functions sets search_path: that would cost more than most of them do, and they run
-- with the caller's rights.

-- Sum modulo 2^64. Not STRICT: a strict CASE is not inlined.
CREATE FUNCTION metrics.add_wrapping(a int8, b int8) RETURNS int8
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE
  WHEN a >= 0 AND b > 9223372036854775807 - a THEN (a + -9223372036854775808) + (b + -9223372036854775808)
  WHEN a < 0 AND b < -9223372036854775808 - a THEN (a - -9223372036854775808) + (b - -9223372036854775808)
  ELSE a + b
END
$$;

-- Unsigned LEB128 at byte `at` (from 0) and the byte behind it.
CREATE FUNCTION metrics.read_varint(data bytea, at int4, OUT value int8, OUT next int4)
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  shift int4 := 0;
  byte  int4;
BEGIN
  value := 0;
  next := at;
  LOOP
    byte := get_byte(data, next);
    next := next + 1;
    value := value | ((byte & 127)::int8 << shift);
    EXIT WHEN byte < 128;
    shift := shift + 7;
    IF shift > 63 THEN
      RAISE EXCEPTION 'a number is longer than 64 bits' USING ERRCODE = 'data_corrupted';
    END IF;
  END LOOP;
END
$$;

-- The `count` integers that begin at byte `at` (from 0) of `data`; the form is that of libs/columns/int_codec.h.
CREATE FUNCTION metrics.decode_ints(data bytea, at int4, count int4) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  transform  int4;
  number     record;
  base       int8 := 0;
  step       int8 := 0;
  lift       int8 := 0;    -- what transform 0 adds to every value
  p          int4 := at;
  n          int4 := 0;    -- values read so far
  held       int4;         -- values of this group
  token      int4;
  width      int4;
  widest     int4 := 0;    -- bits of the widest value, rounded up
  exceptions int4;
  high_width int4;         -- bits of the high part of an exception less 1; -1 = varints
  byte       int4;
  shift      int4;
  i          int4;
  high       int8;
  total      int8;
  bits       bit varying;
  result     int8[];
BEGIN
  IF count <= 0 THEN
    RETURN '{}';
  END IF;
  transform := get_byte(data, p);
  p := p + 1;
  IF transform = 5 AND get_byte(data, p) < 5 THEN
    RETURN metrics.decode_zeros_apart(data, p, count);
  END IF;
  IF transform = 6 THEN
    RETURN metrics.decode_units(data, p, count);
  END IF;
  IF transform > 4 THEN
    RAISE EXCEPTION 'integers have the unknown transform %', transform USING ERRCODE = 'data_corrupted';
  END IF;
  IF transform <> 1 THEN
    number := metrics.read_varint(data, p);
    base := ((number.value >> 1) & 9223372036854775807) # -(number.value & 1);
    p := number.next;
  END IF;
  IF transform = 3 THEN
    number := metrics.read_varint(data, p);
    step := ((number.value >> 1) & 9223372036854775807) # -(number.value & 1);
    p := number.next;
  ELSIF transform = 0 THEN
    lift := base;
  END IF;

  WHILE n < count LOOP
    token := get_byte(data, p);
    p := p + 1;
    IF token = 0 THEN
      number := metrics.read_varint(data, p);
      p := number.next;
      IF number.value < 1 OR number.value > (count - n + 31) / 32 THEN
        RAISE EXCEPTION 'a run of zeros has a wrong length' USING ERRCODE = 'data_corrupted';
      END IF;
      held := least(number.value * 32, count - n);
      IF held = count THEN
        result := array_fill(lift, ARRAY[count]);
      ELSE
        FOR i IN n + 1 .. n + held LOOP
          result[i] := lift;
        END LOOP;
      END IF;
      n := n + held;
      CONTINUE;
    END IF;
    width := token & 127;
    IF width > 64 THEN
      RAISE EXCEPTION 'a group has the width %', width USING ERRCODE = 'data_corrupted';
    END IF;
    widest := greatest(widest, width);
    held := least(32, count - n);
    exceptions := 0;
    IF token > 127 THEN
      byte := get_byte(data, p);
      p := p + 1;
      exceptions := (byte & 31) + 1;
      high_width := (ARRAY[0, 1, 2, 3, 4, 6, 9, -1])[(byte >> 5) + 1];
      -- 1 more than the high part has: 1 is added to it.
      widest := greatest(widest, width + CASE WHEN high_width < 0 THEN 7 ELSE high_width + 1 END);
    END IF;
    IF width = 8 THEN
      FOR i IN 1 .. held LOOP
        result[n + i] := lift + get_byte(data, p + i - 1);
      END LOOP;
    ELSIF width = 0 THEN
      FOR i IN n + 1 .. n + held LOOP
        result[i] := lift;
      END LOOP;
    ELSE
      bits := ('x' || encode(substring(data FROM p + 1 FOR (width * held + 7) / 8), 'hex'))::bit varying;
      IF length(bits) < width * held THEN
        RAISE EXCEPTION 'a group is cut off' USING ERRCODE = 'data_corrupted';
      END IF;
      IF width < 63 OR lift = 0 THEN
        FOR i IN 1 .. held LOOP
          result[n + i] := lift + substring(bits FROM (i - 1) * width + 1 FOR width)::int8;
        END LOOP;
      ELSE
        FOR i IN 1 .. held LOOP
          high := substring(bits FROM (i - 1) * width + 1 FOR width)::int8;
          result[n + i] := metrics.add_wrapping(lift, high);
        END LOOP;
      END IF;
    END IF;
    p := p + (width * held + 7) / 8;
    IF exceptions > 0 AND high_width >= 0 THEN
      bits := ('x' || encode(substring(data FROM p + 1 FOR ((high_width + 5) * exceptions + 7) / 8), 'hex'))::bit varying;
      IF length(bits) < (high_width + 5) * exceptions THEN
        RAISE EXCEPTION 'an exception of a group is cut off' USING ERRCODE = 'data_corrupted';
      END IF;
      p := p + length(bits) / 8;
      FOR j IN 0 .. exceptions - 1 LOOP
        i := n + 1 + substring(bits FROM j * 5 + 1 FOR 5)::int4;
        high := 1;
        IF high_width > 0 THEN
          high := 1 + substring(bits FROM exceptions * 5 + j * high_width + 1 FOR high_width)::int8;
        END IF;
        IF i > n + held THEN
          RAISE EXCEPTION 'an exception of a group is out of range' USING ERRCODE = 'data_corrupted';
        END IF;
        IF widest < 61 AND lift > -2305843009213693952 AND lift < 2305843009213693952 THEN
          result[i] := result[i] + (high << width);
        ELSE
          total := result[i];
          high := high << width;
          result[i] := metrics.add_wrapping(total, high);
        END IF;
      END LOOP;
      exceptions := 0;
    END IF;
    WHILE exceptions > 0 LOOP
      exceptions := exceptions - 1;
      i := n + 1 + get_byte(data, p);
      byte := get_byte(data, p + 1);
      p := p + 2;
      IF byte < 128 AND width < 56 AND i <= n + held THEN
        result[i] := result[i] + (byte::int8 << width);
        CONTINUE;
      END IF;
      high := byte & 127;
      shift := 7;
      WHILE byte > 127 LOOP
        byte := get_byte(data, p);
        p := p + 1;
        high := high | ((byte & 127)::int8 << shift);
        shift := shift + 7;
      END LOOP;
      IF i > n + held OR shift > 70 THEN
        RAISE EXCEPTION 'an exception of a group is out of range' USING ERRCODE = 'data_corrupted';
      END IF;
      IF width + shift < 63 THEN
        result[i] := result[i] + (high << width);
      ELSE
        total := result[i];
        high := high << width;
        result[i] := metrics.add_wrapping(total, high);
      END IF;
      widest := greatest(widest, width + shift);
    END LOOP;
    n := n + held;
  END LOOP;

  IF transform = 0 THEN
    RETURN result;
  ELSIF transform = 1 AND widest < 64 THEN
    FOR i IN 1 .. count LOOP
      result[i] := (result[i] >> 1) # -(result[i] & 1);
    END LOOP;
  ELSIF transform = 1 THEN
    FOR i IN 1 .. count LOOP
      result[i] := ((result[i] >> 1) & 9223372036854775807) # -(result[i] & 1);
    END LOOP;
  ELSIF transform = 4 THEN
    total := base;
    FOR i IN 1 .. count LOOP
      total := total # result[i];
      result[i] := total;
    END LOOP;
  ELSIF count * power(2, widest) + abs(base::float8) + count * abs(step::float8) < 9e18 THEN
    total := base - step;
    IF transform = 2 THEN
      FOR i IN 1 .. count LOOP
        total := total + ((result[i] >> 1) # -(result[i] & 1));
        result[i] := total;
      END LOOP;
    ELSE
      FOR i IN 1 .. count LOOP
        total := total + step + result[i];
        result[i] := total;
      END LOOP;
    END IF;
  ELSIF transform = 2 THEN
    total := base;
    FOR i IN 1 .. count LOOP
      high := result[i];
      high := ((high >> 1) & 9223372036854775807) # -(high & 1);
      total := metrics.add_wrapping(total, high);
      result[i] := total;
    END LOOP;
  ELSE
    -- The first value has no step; -step has no form of its own for the least integer.
    total := base;
    result[1] := base;
    FOR i IN 2 .. count LOOP
      high := metrics.add_wrapping(step, result[i]);
      total := metrics.add_wrapping(total, high);
      result[i] := total;
    END LOOP;
  END IF;
  RETURN result;
END
$$;

-- How many values of a list of 0 and 1 are 1.
CREATE FUNCTION metrics.count_ones(bits int8[]) RETURNS int4
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  value int8;
  ones  int4 := 0;
BEGIN
  FOREACH value IN ARRAY bits LOOP
    IF value NOT IN (0, 1) THEN
      RAISE EXCEPTION 'what says which integers are 0 is malformed' USING ERRCODE = 'data_corrupted';
    END IF;
    ones := ones + value;
  END LOOP;
  RETURN ones;
END
$$;

-- The `count` integers whose zeros stand apart, from the list at byte `at` that says which are not 0.
CREATE FUNCTION metrics.decode_zeros_apart(data bytea, at int4, count int4) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  p      int4 := metrics.ints_end(data, at, count);
  result int8[] := metrics.decode_ints(data, at, count);
  n      int4 := metrics.count_ones(result);
  others int8[];
BEGIN
  IF n > 0 AND get_byte(data, p) > 4 THEN
    RAISE EXCEPTION 'a list of integers is nested too deep' USING ERRCODE = 'data_corrupted';
  END IF;
  others := metrics.decode_ints(data, p, n);
  n := 0;
  FOR i IN 1 .. count LOOP
    IF result[i] = 1 THEN
      n := n + 1;
      result[i] := others[n];
    END IF;
  END LOOP;
  RETURN result;
END
$$;

-- The `count` integers that are multiples of a unit, which stands at byte `at`.
CREATE FUNCTION metrics.decode_units(data bytea, at int4, count int4) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  unit   record := metrics.read_varint(data, at);
  result int8[];
BEGIN
  IF unit.value < 2 OR get_byte(data, unit.next) > 5 THEN
    RAISE EXCEPTION 'the unit of integers is malformed' USING ERRCODE = 'data_corrupted';
  END IF;
  result := metrics.decode_ints(data, unit.next, count);
  RETURN ARRAY(SELECT value * unit.value FROM unnest(result) WITH ORDINALITY r(value, place) ORDER BY place);
END
$$;

-- The byte behind `count` integers that begin at byte `at`: reads the groups' heads alone, and which are 0 where zeros
-- stand apart.
CREATE FUNCTION metrics.ints_end(data bytea, at int4, count int4) RETURNS int4
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  transform  int4;
  number     record;
  p          int4 := at;
  left_over  int4 := count;
  token      int4;
  exceptions int4;
  high_width int4;
BEGIN
  IF count <= 0 THEN
    RETURN at;
  END IF;
  transform := get_byte(data, p);
  p := p + 1;
  IF transform = 5 AND get_byte(data, p) < 5 THEN
    RETURN metrics.ints_end(data, metrics.ints_end(data, p, count), metrics.count_ones(metrics.decode_ints(data, p, count)));
  END IF;
  IF transform = 6 THEN
    number := metrics.read_varint(data, p);
    RETURN metrics.ints_end(data, number.next, count);
  END IF;
  IF transform <> 1 THEN
    number := metrics.read_varint(data, p);
    p := number.next;
  END IF;
  IF transform = 3 THEN
    number := metrics.read_varint(data, p);
    p := number.next;
  END IF;
  WHILE left_over > 0 LOOP
    token := get_byte(data, p);
    p := p + 1;
    IF token = 0 THEN
      number := metrics.read_varint(data, p);
      p := number.next;
      IF number.value < 1 OR number.value > (left_over + 31) / 32 THEN
        RAISE EXCEPTION 'a run of zeros has a wrong length' USING ERRCODE = 'data_corrupted';
      END IF;
      left_over := left_over - number.value * 32;
      CONTINUE;
    END IF;
    exceptions := 0;
    IF token > 127 THEN
      exceptions := (get_byte(data, p) & 31) + 1;
      high_width := (ARRAY[0, 1, 2, 3, 4, 6, 9, -1])[(get_byte(data, p) >> 5) + 1];
      p := p + 1;
      IF high_width >= 0 THEN
        p := p + ((high_width + 5) * exceptions + 7) / 8;
        exceptions := 0;
      END IF;
    END IF;
    p := p + ((token & 127) * least(32, left_over) + 7) / 8;
    WHILE exceptions > 0 LOOP
      exceptions := exceptions - 1;
      p := p + 1;
      WHILE get_byte(data, p) > 127 LOOP
        p := p + 1;
      END LOOP;
      p := p + 1;
    END LOOP;
    left_over := left_over - 32;
  END LOOP;
  RETURN p;
END
$$;

-- Chunks (libs/columns/column.h) of `count` rows. NULL when all of them are, and for a chunk that is not there.

-- Integers and booleans (0 and 1).
CREATE FUNCTION metrics.chunk_ints(chunk bytea, count int4) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  kind      int4 := get_byte(chunk, 0);
  p         int4 := 1;
  number    record;
  different int8[];
  nulls     int8[];
  result    int8[];
BEGIN
  IF kind = 0 THEN
    RETURN NULL;
  ELSIF (kind & 127) NOT IN (1, 2, 6) THEN
    RAISE EXCEPTION 'a chunk of kind % holds no integers', kind & 127 USING ERRCODE = 'data_corrupted';
  ELSIF kind > 127 THEN
    nulls := metrics.decode_ints(chunk, 1, count);
    p := metrics.ints_end(chunk, 1, count);
  END IF;
  IF (kind & 127) = 6 THEN
    number := metrics.read_varint(chunk, p);
    different := metrics.decode_ints(chunk, number.next, number.value::int4);
    result := metrics.decode_ints(chunk, metrics.ints_end(chunk, number.next, number.value::int4), count);
    FOR i IN 1 .. count LOOP
      result[i] := different[result[i] + 1];
    END LOOP;
  ELSE
    result := metrics.decode_ints(chunk, p, count);
  END IF;
  IF nulls IS NULL THEN
    RETURN result;
  END IF;
  FOR i IN 1 .. count LOOP
    IF nulls[i] = 1 THEN
      result[i] := NULL;
    END IF;
  END LOOP;
  RETURN result;
END
$$;

-- Bit patterns of doubles as doubles. A NaN loses its payload, nothing else changes: products with powers of two are exact.
CREATE FUNCTION metrics.bits_to_floats(patterns int8[]) RETURNS float8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  pattern  int8;
  exponent int4;
  last     int4 := -1;
  n        int4 := 0;
  scale    float8;
  value    float8;
  result   float8[] := '{}';
BEGIN
  FOREACH pattern IN ARRAY patterns LOOP
    n := n + 1;
    exponent := (pattern >> 52) & 2047;
    IF exponent <> last THEN
      scale := CASE WHEN exponent BETWEEN 53 AND 2046 THEN power(2::float8, exponent - 1075) END;
      last := exponent;
    END IF;
    IF scale IS NOT NULL THEN
      value := ((pattern & 4503599627370495) | 4503599627370496)::float8 * scale;
    ELSIF exponent = 2047 THEN
      value := CASE WHEN (pattern & 4503599627370495) = 0 THEN 'Infinity'::float8 ELSE 'NaN'::float8 END;
    ELSIF exponent = 0 THEN
      -- 2^-1074 has no normal form: in two steps.
      value := (pattern & 4503599627370495)::float8 * power(2::float8, -537) * power(2::float8, -537);
    ELSE
      value := ((pattern & 4503599627370495) | 4503599627370496)::float8 * power(2::float8, -537)
               * power(2::float8, exponent - 538);
    END IF;
    result[n] := CASE WHEN pattern < 0 THEN -value ELSE value END;
  END LOOP;
  RETURN result;
END
$$;

CREATE FUNCTION metrics.chunk_floats(chunk bytea, count int4) RETURNS float8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  kind   int4 := get_byte(chunk, 0);
  p      int4 := 1;
  scale  float8;
  number record;
  ints   int8[];
  nulls  int8[];
  floats float8[];
  result float8[];
BEGIN
  IF kind = 0 THEN
    RETURN NULL;
  ELSIF (kind & 127) NOT IN (3, 4, 6) THEN
    RAISE EXCEPTION 'a chunk of kind % holds no doubles', kind & 127 USING ERRCODE = 'data_corrupted';
  END IF;
  IF kind > 127 THEN
    nulls := metrics.decode_ints(chunk, 1, count);
    p := metrics.ints_end(chunk, 1, count);
  END IF;
  IF (kind & 127) = 3 THEN
    scale := (ARRAY[1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 60])[get_byte(chunk, p) + 1];
    ints := metrics.decode_ints(chunk, p + 1, count);
    result := ints::float8[];
    IF scale <> 1 THEN
      FOR i IN 1 .. count LOOP
        result[i] := result[i] / scale;
      END LOOP;
    END IF;
  ELSIF (kind & 127) = 4 THEN
    result := metrics.bits_to_floats(metrics.decode_ints(chunk, p, count));
  ELSE
    number := metrics.read_varint(chunk, p);
    floats := metrics.bits_to_floats(metrics.decode_ints(chunk, number.next, number.value::int4));
    ints := metrics.decode_ints(chunk, metrics.ints_end(chunk, number.next, number.value::int4), count);
    FOR i IN 1 .. count LOOP
      result[i] := floats[ints[i] + 1];
    END LOOP;
  END IF;
  IF nulls IS NOT NULL THEN
    FOR i IN 1 .. count LOOP
      IF nulls[i] = 1 THEN
        result[i] := NULL;
      END IF;
    END LOOP;
  END IF;
  RETURN result;
END
$$;

-- Texts: the different ones, and of each row the index into them, from 0. Apart, because a text may stand in many rows.
CREATE FUNCTION metrics.chunk_texts(chunk bytea, count int4) RETURNS text[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  kind    int4 := get_byte(chunk, 0);
  p       int4 := 1;
  number  record;
  bytes   int8;
  shared  int8[];
  lengths int8[];
  n       int4 := 0;
  before  bytea := '';
  result  text[] := '{}';
BEGIN
  IF kind = 0 THEN
    RETURN NULL;
  ELSIF (kind & 127) NOT IN (5, 7) THEN
    RAISE EXCEPTION 'a chunk of kind % holds no texts', kind & 127 USING ERRCODE = 'data_corrupted';
  END IF;
  IF kind > 127 THEN
    p := metrics.ints_end(chunk, p, count);
  END IF;
  number := metrics.read_varint(chunk, p);
  p := number.next;
  IF (kind & 127) = 7 THEN
    shared := metrics.decode_ints(chunk, p, number.value::int4);
    p := metrics.ints_end(chunk, p, number.value::int4);
  END IF;
  lengths := metrics.decode_ints(chunk, p, number.value::int4);
  p := metrics.ints_end(chunk, p, number.value::int4);
  FOREACH bytes IN ARRAY lengths LOOP
    n := n + 1;
    before := substring(before FROM 1 FOR coalesce(shared[n], 0)::int4) || substring(chunk FROM p + 1 FOR bytes::int4);
    result[n] := convert_from(before, 'UTF8');
    p := p + bytes;
  END LOOP;
  RETURN result;
END
$$;

CREATE FUNCTION metrics.chunk_text_indexes(chunk bytea, count int4) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  kind    int4 := get_byte(chunk, 0);
  p       int4 := 1;
  number  record;
  bytes   int8;
  nulls   int8[];
  result  int8[];
BEGIN
  IF kind = 0 THEN
    RETURN NULL;
  END IF;
  IF kind > 127 THEN
    nulls := metrics.decode_ints(chunk, p, count);
    p := metrics.ints_end(chunk, p, count);
  END IF;
  number := metrics.read_varint(chunk, p);
  p := number.next;
  IF (kind & 127) = 7 THEN
    p := metrics.ints_end(chunk, p, number.value::int4);
  END IF;
  number.next := p;
  p := metrics.ints_end(chunk, p, number.value::int4);
  FOREACH bytes IN ARRAY metrics.decode_ints(chunk, number.next, number.value::int4) LOOP
    p := p + bytes;
  END LOOP;
  result := metrics.decode_ints(chunk, p, count);
  IF nulls IS NOT NULL THEN
    FOR i IN 1 .. count LOOP
      IF nulls[i] = 1 THEN
        result[i] := NULL;
      END IF;
    END LOOP;
  END IF;
  RETURN result;
END
$$;

-- Column `id` (from 1) of a stored frame; NULL when its schema version has no such column.
CREATE FUNCTION metrics.frame_chunk(data bytea, offsets int4[], id int4) RETURNS bytea
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE WHEN id <= cardinality(offsets) - 2 AND offsets[id + 1] > offsets[id]
            THEN substring(data FROM offsets[id] + 1 FOR offsets[id + 1] - offsets[id]) END
$$;

-- Flags of the rows of a stored frame; NULL when it has none.
CREATE FUNCTION metrics.frame_row_flags(data bytea, offsets int4[], count int4) RETURNS int8[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE WHEN offsets[cardinality(offsets)] > offsets[cardinality(offsets) - 1]
            THEN metrics.decode_ints(substring(data FROM offsets[cardinality(offsets) - 1] + 1), 0, count) END
$$;

-- Section `id` of a block (libs/columns/block.h); NULL when it has none. An empty section of a column has the bytes of the
-- last one before it that is not empty.
CREATE FUNCTION metrics.block_section(data bytea, ids int2[], offsets int4[], id int4) RETURNS bytea
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT substring(data FROM offsets[least(array_position(ids, id::int2),
                                         width_bucket(offsets[array_position(ids, id::int2) + 1] - 1, offsets))] + 1
                 FOR offsets[array_position(ids, id::int2) + 1]
                     - offsets[least(array_position(ids, id::int2),
                                     width_bucket(offsets[array_position(ids, id::int2) + 1] - 1, offsets))])
$$;

-- Of each frame of a block how long it covers: section -2, or -24 summed up.
CREATE FUNCTION metrics.block_frame_lengths(data bytea, ids int2[], offsets int4[], frames int4) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
  AS $$
DECLARE
  ends   int8[];
  scopes int8[];
  seen   int8[] := '{}';  -- scopes, and the last end of each
  before int8[] := '{}';
  place  int4;
  result int8[];
BEGIN
  result := metrics.decode_ints(metrics.block_section(data, ids, offsets, -24), 0, frames);
  IF result IS NULL THEN
    RETURN metrics.decode_ints(metrics.block_section(data, ids, offsets, -2), 0, frames);
  END IF;
  ends := metrics.decode_ints(metrics.block_section(data, ids, offsets, -1), 0, frames);
  scopes := metrics.decode_ints(metrics.block_section(data, ids, offsets, -3), 0, frames);
  FOR i IN 1 .. frames LOOP
    place := array_position(seen, scopes[i]);
    IF place IS NULL THEN
      place := cardinality(seen) + 1;
      seen[place] := scopes[i];
      before[place] := ends[i];
    END IF;
    result[i] := ends[i] - before[place] - result[i];
    before[place] := ends[i];
  END LOOP;
  RETURN result;
END
$$;

-- From 1: owners 1.. as often as `counts` says.
CREATE FUNCTION metrics.repeated_numbers(counts int8[]) RETURNS int4[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  owner  int4 := 0;
  n      int4 := 0;
  held   int8;
  result int4[] := '{}';
BEGIN
  FOREACH held IN ARRAY counts LOOP
    owner := owner + 1;
    FOR i IN n + 1 .. n + held LOOP
      result[i] := owner;
    END LOOP;
    n := n + held;
  END LOOP;
  RETURN result;
END
$$;

-- Of each row its member, from 1: `gaps` are the first member of each owner (from 0) and distances less 1.
CREATE FUNCTION metrics.summed_gaps(counts int8[], gaps int8[]) RETURNS int4[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  n      int4 := 0;
  held   int8;
  member int8;
  result int4[] := '{}';
BEGIN
  FOREACH held IN ARRAY counts LOOP
    member := 0;
    FOR i IN n + 1 .. n + held LOOP
      member := member + gaps[i] + 1;
      result[i] := member;
    END LOOP;
    n := n + held;
  END LOOP;
  RETURN result;
END
$$;

-- Of each row of a block its frame and its series, from 1.
CREATE FUNCTION metrics.block_row_frames(data bytea, ids int2[], offsets int4[], frames int4, series int4, count int4)
  RETURNS int4[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT metrics.summed_gaps(metrics.decode_ints(metrics.block_section(data, ids, offsets, -17), 0, series),
                           metrics.decode_ints(metrics.block_section(data, ids, offsets, -18), 0, count))
$$;
CREATE FUNCTION metrics.block_row_series(data bytea, ids int2[], offsets int4[], frames int4, series int4, count int4)
  RETURNS int4[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT metrics.repeated_numbers(metrics.decode_ints(metrics.block_section(data, ids, offsets, -17), 0, series))
$$;

-- Of each frame of a block the rows it came with.
CREATE FUNCTION metrics.block_frame_rows(data bytea, ids int2[], offsets int4[], frames int4, series int4, count int4)
  RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
  AS $$
DECLARE
  frame  int4;
  result int8[];
BEGIN
  IF (-23)::int2 = ANY (ids) THEN
    RETURN metrics.decode_ints(metrics.block_section(data, ids, offsets, -23), 0, frames);
  END IF;
  result := array_fill(0::int8, ARRAY[frames]);
  FOREACH frame IN ARRAY metrics.block_row_frames(data, ids, offsets, frames, series, count) LOOP
    result[frame] := result[frame] + 1;
  END LOOP;
  RETURN result;
END
$$;

-- Microseconds since 1970 as an instant and back. Hours apart: an interval is multiplied as a double, exact to 2^53.
CREATE FUNCTION metrics.time_of(us int8) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $$
SELECT CASE
  WHEN us = 9223372036854775807 THEN 'infinity'::timestamptz
  WHEN us < -210866803200000000 THEN '-infinity'::timestamptz
  ELSE '1970-01-01 00:00:00+00'::timestamptz
       + us / 3600000000 * interval '1 hour' + us % 3600000000 * interval '1 microsecond'
END
$$;
CREATE FUNCTION metrics.us_of(instant timestamptz) RETURNS int8
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $$
SELECT CASE
  WHEN instant = 'infinity' THEN 9223372036854775807
  WHEN instant = '-infinity' THEN -9223372036854775808
  ELSE (extract(epoch FROM date_trunc('second', instant)))::int8 * 1000000
       + (extract(microseconds FROM instant))::int8 % 1000000
END
$$;

-- One row per field of a protobuf message, in its order; numbers and the lengths of bytes are varints.
CREATE FUNCTION metrics.proto_fields(message bytea) RETURNS TABLE (field int4, number int8, bytes bytea)
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  p    int4 := 0;
  head record;
  read record;
BEGIN
  WHILE p < length(message) LOOP
    head := metrics.read_varint(message, p);
    field := head.value >> 3;
    number := NULL;
    bytes := NULL;
    p := head.next;
    CASE head.value & 7
      WHEN 0 THEN
        read := metrics.read_varint(message, p);
        number := read.value;
        p := read.next;
      WHEN 1 THEN
        p := p + 8;
      WHEN 2 THEN
        read := metrics.read_varint(message, p);
        bytes := substring(message FROM read.next + 1 FOR read.value::int4);
        p := read.next + read.value;
      WHEN 5 THEN
        p := p + 4;
      ELSE
        RAISE EXCEPTION 'a message has a field of an unknown form' USING ERRCODE = 'data_corrupted';
    END CASE;
    RETURN NEXT;
  END LOOP;
END
$$;

-- Columns of a metric, from its serialised pganalytics.catalog.v1.Metric; `id` is the place in the definition, from 1.
CREATE FUNCTION metrics.metric_columns(definition bytea) RETURNS TABLE (id int4, name text, type int4, kind int4)
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
  AS $$
SELECT (row_number() OVER (ORDER BY m.place))::int4,
       (SELECT convert_from(f.bytes, 'UTF8') FROM metrics.proto_fields(m.bytes) f WHERE f.field = 1),
       (SELECT f.number::int4 FROM metrics.proto_fields(m.bytes) f WHERE f.field = 2),
       (SELECT f.number::int4 FROM metrics.proto_fields(m.bytes) f WHERE f.field = 3)
  FROM metrics.proto_fields(definition) WITH ORDINALITY AS m(field, number, bytes, place)
  WHERE m.field = 11
  ORDER BY m.place
$$;

-- Whether a metric holds texts that only readers of texts may see (Column.restricted).
CREATE FUNCTION metrics.is_restricted(definition bytea) RETURNS bool
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
  AS $$
SELECT EXISTS (SELECT FROM metrics.proto_fields(definition) m CROSS JOIN LATERAL metrics.proto_fields(m.bytes) f
                 WHERE m.field = 11 AND f.field = 9 AND f.number = 1)
$$;

-- Frames and blocks of the metrics that every reader may see; metrics.apply_shown says which these are. A condition is one
-- comparison of integers, which PostgreSQL evaluates before all that costs more, and readers can make no functions: so that
-- no condition of theirs meets a row that is left out.
CREATE VIEW metrics.shown_frame AS SELECT * FROM metrics.frame WHERE metric_id <= 0::int2;
CREATE VIEW metrics.shown_block AS SELECT * FROM metrics.block WHERE metric_id <= 0::int2;

-- Shows the metrics of the catalog that are not restricted. What is added to the catalog is shown from the next call on.
CREATE FUNCTION metrics.apply_shown() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  condition text;
BEGIN
  SELECT format('metric_id <= %s::int2', coalesce(max(m.id), 0))
         || coalesce(string_agg(format(' AND metric_id <> %s::int2', m.id), '' ORDER BY m.id)
                       FILTER (WHERE metrics.is_restricted(m.definition)), '')
    INTO condition FROM metrics.catalog_metric m;
  IF obj_description('metrics.shown_block'::regclass) IS NOT DISTINCT FROM condition THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE OR REPLACE VIEW metrics.shown_frame AS SELECT * FROM metrics.frame WHERE %s', condition);
  EXECUTE format('CREATE OR REPLACE VIEW metrics.shown_block AS SELECT * FROM metrics.block WHERE %s', condition);
  EXECUTE format('COMMENT ON VIEW metrics.shown_block IS %L', condition);
END
$$;

-- Where the queries of a metric read: tables that only readers of texts may read, or what all may.
CREATE FUNCTION metrics.relation_of(definition bytea, of_blocks bool) RETURNS text
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
  AS $$
SELECT CASE WHEN metrics.is_restricted(definition) THEN 'metrics.' ELSE 'metrics.shown_' END
       || CASE WHEN of_blocks THEN 'block' ELSE 'frame' END
$$;

-- The query behind readable.<metric>. `p_since` and `p_until` are SQL expressions. Every column of a frame or block is
-- decoded in the target list of a subquery, once per frame or block, and then looked up row by row. clock_timestamp()
-- there keeps the planner from merging the subquery into the outer one, which would decode once per row; what the outer
-- query does not name it still leaves out, and conditions on other columns it still pushes down (a LIMIT would stop that).
CREATE FUNCTION metrics.readable_query(p_metric_id int2, p_definition bytea, p_since text, p_until text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  has_scope   bool := coalesce((SELECT f.number = 2 FROM metrics.proto_fields(p_definition) f WHERE f.field = 4), false);
  col         record;
  name        text;
  decode      text;
  at_row      text;
  shown       text;
  frame_inner text := '';
  block_inner text := '';
  frame_outer text := '';
  block_outer text := '';
  chunk       text;
BEGIN
  FOR col IN SELECT * FROM metrics.metric_columns(p_definition) c ORDER BY c.id LOOP
    name := CASE WHEN col.name IN ('time', 'source_name', 'source_id', 'database_oid', 'interval_start', 'kind',
                                   'lower_bound', 'unknown', 'gone')
                 THEN col.name || '_value' ELSE col.name END;
    decode := CASE col.type WHEN 3 THEN 'metrics.chunk_floats' WHEN 4 THEN 'metrics.chunk_text_indexes'
                            ELSE 'metrics.chunk_ints' END;
    -- In frames every column has one value per row; in blocks labels have one per series.
    chunk := format('metrics.frame_chunk(f.data, f.offsets, %s), f.rows', col.id);
    frame_inner := frame_inner || format(E',\n       %s(%s) AS c%s', decode, chunk, col.id);
    IF col.type = 4 THEN
      frame_inner := frame_inner || format(', metrics.chunk_texts(%s) AS t%s', chunk, col.id);
    END IF;
    chunk := format('metrics.block_section(b.data, b.ids, b.offsets, %s), %s', col.id,
                    CASE col.kind WHEN 1 THEN 'b.series' ELSE 'b.rows::int4' END);
    block_inner := block_inner || format(E',\n       %s(%s) AS c%s', decode, chunk, col.id);
    IF col.type = 4 THEN
      block_inner := block_inner || format(', metrics.chunk_texts(%s) AS t%s', chunk, col.id);
    END IF;
    FOR i IN 1 .. 2 LOOP
      at_row := format('d.c%s[%s]', col.id, CASE WHEN i = 2 AND col.kind = 1 THEN 'd.row_series[r.i]' ELSE 'r.i' END);
      shown := CASE col.type
        WHEN 1 THEN at_row || ' <> 0'
        WHEN 4 THEN format('d.t%s[%s + 1]', col.id, at_row)
        WHEN 5 THEN format('metrics.time_of(%s)', at_row)
        ELSE at_row END;
      IF col.kind = 3 THEN
        -- A keyframe has the reading where others have the increase.
        shown := format('CASE WHEN d.kind = 1 THEN %s END', shown);
      END IF;
      shown := format(E',\n       %s AS %I', shown, name);
      IF i = 1 THEN
        frame_outer := frame_outer || shown;
      ELSE
        block_outer := block_outer || shown;
      END IF;
    END LOOP;
  END LOOP;
  -- 223: all flags but that of frames which says that some row is a lower bound.
  RETURN format($q$SELECT d.collected_at AS "time", d.source_name, d.source_id%1$s, d.interval_start,
       CASE d.kind WHEN 1 THEN 'delta'::text ELSE 'keyframe'::text END AS kind,
       (coalesce(d.row_flags[r.i], 0) | (d.flags & 223)) & 1 <> 0 AS lower_bound,
       (coalesce(d.row_flags[r.i], 0) | (d.flags & 223)) & 2 <> 0 AS unknown,
       (coalesce(d.row_flags[r.i], 0) | (d.flags & 223)) & 4 <> 0 AS gone%2$s
  FROM (SELECT f.rows, f.kind, f.flags, f.collected_at, f.interval_start, f.scope_id, s.name AS source_name,
       s.uuid AS source_id, clock_timestamp() AS read_at,
       metrics.frame_row_flags(f.data, f.offsets, f.rows) AS row_flags%3$s
    FROM metrics.source s JOIN %10$s f ON f.source_id = s.id
    WHERE f.metric_id = %7$s::int2 AND f.collected_at >= %8$s AND f.collected_at < %9$s) d
  CROSS JOIN LATERAL generate_series(1, d.rows) r(i)
UNION ALL
SELECT metrics.time_of(d.ends[d.row_frame[r.i]]), d.source_name, d.source_id%4$s,
       metrics.time_of(d.ends[d.row_frame[r.i]] - d.lengths[d.row_frame[r.i]]),
       CASE d.kind WHEN 1 THEN 'delta'::text ELSE 'keyframe'::text END,
       coalesce(d.row_flags[r.i], 0) & 1 <> 0, coalesce(d.row_flags[r.i], 0) & 2 <> 0,
       coalesce(d.row_flags[r.i], 0) & 4 <> 0%5$s
  FROM (SELECT b.rows, b.kind, s.name AS source_name, s.uuid AS source_id, clock_timestamp() AS read_at,
       metrics.us_of(%8$s) AS since_us, metrics.us_of(%9$s) AS until_us,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries) AS ends,
       metrics.block_frame_lengths(b.data, b.ids, b.offsets, b.frame_entries) AS lengths,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -3), 0, b.frame_entries) AS scopes,
       metrics.block_row_frames(b.data, b.ids, b.offsets, b.frame_entries, b.series, b.rows::int4) AS row_frame,
       metrics.block_row_series(b.data, b.ids, b.offsets, b.frame_entries, b.series, b.rows::int4) AS row_series,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -21), 0, b.rows::int4) AS row_flags%6$s
    FROM metrics.source s JOIN %11$s b ON b.source_id = s.id
    WHERE b.metric_id = %7$s::int2 AND b.level = 0 AND b.last >= %8$s AND b.first < %9$s) d
  CROSS JOIN LATERAL generate_series(1, d.rows::int4) r(i)
  WHERE d.ends[d.row_frame[r.i]] >= d.since_us AND d.ends[d.row_frame[r.i]] < d.until_us$q$,
    CASE WHEN has_scope THEN ', d.scope_id AS database_oid' ELSE '' END, frame_outer, frame_inner,
    CASE WHEN has_scope THEN ', d.scopes[d.row_frame[r.i]]' ELSE '' END, block_outer, block_inner,
    p_metric_id, p_since, p_until, metrics.relation_of(p_definition, false), metrics.relation_of(p_definition, true));
END
$$;
