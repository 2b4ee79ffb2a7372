#!/usr/bin/env bash
# clang-format over our C++ sources: tools/format.sh [--fix]. Without --fix it lists files that differ and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
formatter=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$formatter" ]; then
  echo "format: clang-format-14 is missing; run tools/setup.sh test" >&2
  exit 1
fi
mapfile -t files < <(find libs services tools tests -name '*.h' -o -name '*.cc' | sort)
[ ${#files[@]} -gt 0 ] || exit 0
if [ "${1:-}" = --fix ]; then
  "$formatter" -i "${files[@]}"
else
  "$formatter" --dry-run -Werror "${files[@]}"
fi
