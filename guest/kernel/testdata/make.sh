#!/bin/sh
# Makes the packed files in this directory anew, with the options that Linux's
# build uses (scripts/Makefile.lib, scripts/xz_wrap.sh). Wants xz-utils, bzip2,
# gzip, lz4, zstd, lzop.
set -eu
cd "$(dirname "$0")"
trap 'rm -f plain' EXIT
(cd .. && GUREUM_PLAINTEXT=testdata/plain go test -run TestWritePlainText -count=1 .)
gzip -n -9 -c <plain >plain.gz
bzip2 -9 -c <plain >plain.bz2
xz --format=lzma -9 -c <plain >plain.lzma
xz --check=crc32 --x86 --lzma2=dict=32MiB -c <plain >plain.xz
lzop -9 -c <plain >plain.lzo
lz4 -q -l -9 -c <plain >plain.lz4
zstd -q -19 -c <plain >plain.zst
cat plain | zstd -q -22 --ultra -c >plain.ultra.zst
