#!/usr/bin/env bash
# Prints the Debian packages that own the shared libraries of the given programs, one a line.
set -euo pipefail
ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | while read -r library; do
  # Paths are recorded below /usr/lib or /lib depending on the package's age.
  dpkg-query -S "$library" 2>/dev/null || dpkg-query -S "${library#/usr}" 2>/dev/null ||
    dpkg-query -S "$(readlink -f "$library")"
done | sed -E 's/:.*//' | sort -u
