#!/usr/bin/env python3
"""Writes services/collector/log_words.txt: the words that PostgreSQL's own messages use.

    tools/logs/words.py /usr/share/locale/de/LC_MESSAGES/{postgres-15,plpgsql-15}.mo

Any translation's catalog will do, because the English messages are its keys. Words of the patterns in log_classes.txt and
of the C library's errors are added.
"""
import gettext
import os
import pathlib
import re
import sys

# Of messages that version 15 does not have.
OTHER_VERSIONS = "pins frozen eagerly reads delay lsn SLRU ready setup fork conflict conflicting"
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "services" / "collector"
# What PL/pgSQL calls its statements in a context.
PLPGSQL = ("RAISE ASSERT EXECUTE PERFORM CALL COMMIT ROLLBACK RETURN NEXT QUERY GET DIAGNOSTICS OPEN FETCH MOVE CLOSE CASE IF "
           "FOR FOREACH LOOP WHILE EXIT CONTINUE SET statement block assignment control entry function exit inline_code_block")


def words_of(text):
    text = re.sub(r"%[-+0-9.*#lhz]*[a-zA-Z]", " ", text)
    text = re.sub(r"\{[a-z_]+:[a-z]+\}", " ", text)
    for word in re.findall(r"[A-Za-z0-9_]+", text):
        if re.search(r"[A-Za-z]", word):
            yield word


def main():
    words = set(words_of(PLPGSQL)) | set(words_of(OTHER_VERSIONS))
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog
        for key in catalog:
            words.update(words_of(key if isinstance(key, str) else key[0]))
    for number in range(1, 134):
        words.update(words_of(os.strerror(number)))
    for line in (FOLDER / "log_classes.txt").read_text(encoding="utf-8").splitlines():
        match = re.match(r"\s*(says|part|line) (.*)", line)
        if match:
            words.update(words_of(match.group(2)))
    lines, line = [], ""
    for word in sorted(words):
        if len(line) + len(word) > 118:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    lines.append(line)
    (FOLDER / "log_words.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(words)} words")


if __name__ == "__main__":
    main()
