"""The languages of the dashboard and of sentences: English, and those of the catalogues here.

A text is written in English where it is made, and that English is the key of its translation in a
gettext catalogue (`ko.po`), which `python -m tools.translations` brings up to date.

* A text of a page goes through `gettext` in its template or view, or `t` in a script.
* A sentence (an error's detail, a diagnosis, a warning) is made below the web, where no language is
  known, and may be stored for years with its values filled in. It is translated when it is
  answered: `translated` finds the one sentence of the catalogue that it was made from, takes the
  values out of it and puts them into the translation (`sentences.py`). So logs, the database and
  run.json stay English, old rows are translated too, and no floor below the web knows languages. A
  sentence without a translation stays as it is.
"""
