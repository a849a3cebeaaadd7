#!/usr/bin/env bash
# Gather about 1,500 files of real documentation from Debian packages: HTML, text, Markdown and PDF, a subfolder per product.
#
#     benchmarks/real_documentation/gather.sh FOLDER
#
# Needs Debian 12 or a container of it, with up-to-date package lists (apt-get update), and no root: packages are
# downloaded and unpacked, never installed. FOLDER must not exist yet.
set -euo pipefail
export LC_ALL=C  # the same order and the same patterns everywhere

if [ $# -ne 1 ]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
if [ -e "$1" ]; then
  echo "$1 exists already: name a new folder, or remove it" >&2
  exit 1
fi
packages=(python3.11-doc postgresql-doc-15 sqlite3-doc debian-handbook bash-doc bash)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As root, apt would warn that its own user cannot write into our folder.
(cd "$work" && apt-get download --quiet=2 --option APT::Sandbox::User=root "${packages[@]}")
for package in "$work"/*.deb; do
  dpkg-deb -x "$package" "$work/unpacked"
done
docs=$work/unpacked/usr/share/doc
files=$work/files

# copy FROM TO [EXPRESSION OF find...]: copies the files below FROM that match, with their folders.
copy() {
  local from=$1 to=$2
  shift 2
  mkdir -p "$to"
  (cd "$from" && find . -type f "$@" -exec cp --parents --target-directory "$to" {} +)
}

# Python: what its users read as HTML; the how-tos and the guides to extending as the text that the HTML was made from.
html=$docs/python3.11/html
for part in faq library reference tutorial using whatsnew; do
  copy "$html/$part" "$files/python/$part" -name '*.html'
done
for part in extending howto; do
  copy "$html/_sources/$part" "$files/python/$part" -name '*.txt'
done

# PostgreSQL: SQL, server administration, tutorial and modules; not its internals, its client libraries and the tables of its catalogues.
internals='bki|brin|btree|catalog|custom|docguide|ecpg|fdw|geqo|gin|gist|index|infoschema|libpq|lo|logicaldecoding|nls|plperl|pltcl|protocol|regress|release|source|spgist|spi|view'
copy "$docs/postgresql-doc-15/html" "$files/postgresql" -regextype posix-extended \
  -name '*.html' ! -regex "\./($internals)-.*" ! -name bookindex.html

# SQLite: its guides and SQL reference; not the pages per C function, the release logs and the lists of links.
copy "$docs/sqlite3" "$files/sqlite" -maxdepth 1 -name '*.html' ! -name '*_crossref.html' ! -name keyword_index.html

# The Debian Administrator's Handbook in English.
copy "$docs/debian-handbook/html/en-US" "$files/debian" -name '*.html'

# Bash: its two manuals as PDF (their HTML says the same), and its notes as text.
copy "$docs/bash" "$files/bash" -maxdepth 1 -name '*.pdf'
for name in COMPAT INTRO NEWS POSIX README.commands; do
  gunzip --stdout "$docs/bash/$name.gz" > "$files/bash/$name.txt"
done
cp "$docs/bash/RBASH" "$files/bash/RBASH.txt"
cp "$docs/bash/examples/INDEX.txt" "$files/bash/examples.txt"
cp "$docs/bash/examples/shellmath/README.md" "$files/bash/shellmath.md"

# Whole or not at all: a folder that is there has everything.
mkdir -p "$(dirname "$1")"
mv "$files" "$1"
for product in "$1"/*/; do
  printf '%6d  %s\n' "$(find "$product" -type f | wc -l)" "$(basename "$product")"
done
printf '%6d  together\n' "$(find "$1" -type f | wc -l)"
