#!/usr/bin/env bash
# Does a .tflite file compute on ARM64 what it computes here? Runs LiteRT for ARM64 under qemu, without root or chroot:
#
#   export/arm64_check.sh [--cache DIR] [--sizes HxW,...] [MODEL.tflite ...]
#
# By default the shipped models at 64x64 and 48x40.
#
# The first run fetches Debian's Python and LiteRT's wheel for ARM64, 200 MB, into the cache (~/.cache/keras_fsr/arm64).
# Exit code: 0 within the tolerances of arm64_check.py, 1 beyond, 2 not run. PYTHON names the interpreter with keras_fsr.
set -euo pipefail

python=${PYTHON:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/keras_fsr/arm64
if [ "${1:-}" = --cache ]; then
  cache=${2:?--cache names a folder}
  shift 2
fi

fail() {
  echo "arm64_check: error: $*" >&2
  exit 2
}

for tool in qemu-aarch64-static mmdebstrap; do
  command -v $tool >/dev/null ||
    fail "$tool is missing; apt-get install -y --no-install-recommends qemu-user-static mmdebstrap"
done
litert=$("$python" -c 'from importlib.metadata import version; print(version("ai-edge-litert"))' 2>/dev/null) ||
  fail "$python has no ai-edge-litert; pip install '.[demo]' in the checkout, or set PYTHON"
root=$cache/bookworm
site=$cache/litert-$litert
mkdir -p "$cache" 2>/dev/null || fail "$cache: cannot be made a folder; name another by --cache"

# Each is made beside its place, so that what is there is whole.
work=$(mktemp -d "$cache/.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ ! -d "$root" ]; then
  echo "fetching Debian's Python for ARM64 ..." >&2
  packages=python3.11-minimal,libpython3.11-stdlib,libstdc++6,libgcc-s1,zlib1g,libexpat1,libffi8,libbz2-1.0,liblzma5,libssl3
  mmdebstrap --quiet --variant=extract --architectures=arm64 --include=$packages bookworm "$work/root" ||
    fail "Debian's packages cannot be fetched; check the network, or fill $root as this script would"
  # qemu shows this machine's file, which LiteRT's ARM code cannot read. What it says is what -cpu neoverse-n1 has.
  mkdir -p "$work/root/proc"
  cat >"$work/root/proc/cpuinfo" <<'END'
processor	: 0
BogoMIPS	: 50.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

END
  mv -T "$work/root" "$root" || fail "$root: was made by another run; start again"
fi
if [ ! -d "$site" ]; then
  echo "fetching ai-edge-litert $litert for ARM64 ..." >&2
  platforms=()
  for glibc in _2_28 _2_27 _2_17 2014; do
    platforms+=(--platform "manylinux${glibc}_aarch64")
  done
  "$python" -m pip install --quiet --target "$work/site" --only-binary=:all: --implementation cp \
    --python-version 3.11 "${platforms[@]}" "ai-edge-litert==$litert" ||
    fail "LiteRT's wheel cannot be fetched; check the network, or fill $site as this script would"
  mv -T "$work/site" "$site" || fail "$site: was made by another run; start again"
fi

"$python" "$(dirname "$0")/arm64_check.py" "$root" "$site" "$@"
