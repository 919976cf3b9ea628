#!/usr/bin/env bash
# build.sh: the one entry point for building, testing and measuring mtk.
# Without arguments it lists its verbs. Build trees live in build/<kind>/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

jobs="${JOBS:-$(nproc)}"

usage() {
  cat <<'EOF'
usage: ./build.sh VERB [ARGUMENTS]
  deps               install what is missing (Debian 12, Ubuntu 24.04; apt-get)
  build              release build in build/release (bin/mtk, lib/mtk/plugins/*.so)
  static             release build with every plugin linked into the binary, in build/static
  demo               the whole chain on the bundled model: inspect ... serve
  test [CTEST ARGS]  build, then run every test
  bench [ARGS]       build, then measure speed
  fuzz [SECONDS]     fuzz every parser for SECONDS each (default 120)
  asan [CTEST ARGS]  tests under the address sanitizer
  ubsan [CTEST ARGS] tests under the undefined behaviour sanitizer
  tsan [CTEST ARGS]  tests under the thread sanitizer
  emulated [CTEST ARGS] tests with AVX-512 and AMX in software, on any CPU with AVX2
  tidy               layer table, lengths, banned calls, exported symbols
  install [PREFIX]   build and install (default /usr/local)
  clean              remove build/
environment: JOBS (parallel compile jobs), CC (compiler), MTK_TEST_DATA (larger test data)
EOF
}

# ---- dependencies ----------------------------------------------------------------------------
# probe | Debian package | what for. A probe is a command name, pc:MODULE or py:MODULE.
dependency_table() {
  cat <<'EOF'
gcc|gcc|compiles everything
g++|g++|the test that compiles the public headers as C++17
pc:check|check|unit test framework
make|make|builds the examples
cmake|cmake|configures the build
ninja|ninja-build|runs the build
pkg-config|pkg-config|finds the libraries
pc:jansson|libjansson-dev|JSON
pc:libpcre2-8|libpcre2-dev|pre-tokenizer patterns
pc:libutf8proc|libutf8proc-dev|Unicode normalization
pc:libcrypto|libssl-dev|SHA-256 and TLS
pc:libevent|libevent-dev|the HTTP server plugin
pc:zlib|zlib1g-dev|the npz plugin
pc:libarchive|libarchive-dev|the archive plugin
curl|curl|talks to the server in demo and tests
jq|jq|reads JSON in demo and tests
python3|python3|runs the tidy test and test clients
EOF
}

# Same, for the fuzz verb and CI only.
clang_table() {
  cat <<'EOF'
clang|clang|second compiler, libFuzzer
clang-format|clang-format|the style in .clang-format
py:ensurepip|python3-venv|a Python for the test with the openai client
EOF
}

is_present() {
  case "$1" in
  pc:*) command -v pkg-config >/dev/null && pkg-config --exists "${1#pc:}" ;;
  py:*) command -v python3 >/dev/null && python3 -c "import ${1#py:}" 2>/dev/null ;;
  *) command -v "$1" >/dev/null ;;
  esac
}

# Reads a table on stdin; installs the packages whose probe fails.
ensure_packages() {
  local probe package why packages=()
  while IFS='|' read -r probe package why; do
    if ! is_present "$probe"; then
      echo "missing: $package ($why)"
      packages+=("$package")
    fi
  done
  [ ${#packages[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    echo "build.sh: no apt-get here; install these packages yourself: ${packages[*]}" >&2
    return 1
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "build.sh: not root and no sudo; as root run: apt-get install ${packages[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "installing: ${packages[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" libc6-dev ca-certificates
}

do_deps() { dependency_table | ensure_packages; }

# libFuzzer and the sanitizers of clang live in a package named for clang's version.
do_clang_deps() {
  clang_table | ensure_packages
  local major
  major="$(clang -dumpversion | cut -d. -f1)"
  if [ ! -e "$(clang -print-file-name=libclang_rt.fuzzer-x86_64.a)" ] &&
    [ ! -e "$(clang -print-file-name=libclang_rt.fuzzer.a)" ]; then
    printf '%s\n' "no-such-probe-libclang-rt|libclang-rt-$major-dev|libFuzzer and sanitizers" |
      ensure_packages
  fi
}

# ---- building --------------------------------------------------------------------------------
# configure_and_build KIND [CMAKE ARGS...]
configure_and_build() {
  local kind="$1"
  shift
  cmake -S . -B "build/$kind" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" >"build/$kind.log" 2>&1 || {
    cat "build/$kind.log" >&2
    return 1
  }
  grep -E 'not built' "build/$kind.log" || true
  cmake --build "build/$kind" --parallel "$jobs"
}

do_build() {
  do_deps
  mkdir -p build
  configure_and_build release
}

# run_tests DIR [CTEST ARGS...]: runs ctest, ends with "N passed, N failed, N skipped".
run_tests() {
  local dir="$1" status=0
  shift
  ctest --test-dir "$dir" --output-on-failure --parallel 2 --no-tests=error \
    --output-junit "$PWD/$dir/tests.xml" "$@" || status=$?
  python3 - "$dir/tests.xml" <<'EOF' || status=1
import sys
import xml.etree.ElementTree as ET
suite = ET.parse(sys.argv[1]).getroot()
total, failed = int(suite.get("tests")), int(suite.get("failures"))
skipped = int(suite.get("skipped")) + int(suite.get("disabled", "0"))
print(f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped")
EOF
  return $status
}

# do_sanitized KIND SANITIZERS EMULATE [CTEST ARGS...]: EMULATE = ON: kernels of every level, also of
# those that the CPU lacks.
do_sanitized() {
  local kind="$1" sanitizers="$2" emulate="$3"
  shift 3
  do_deps
  mkdir -p build
  configure_and_build "$kind" -DMTK_SANITIZE="$sanitizers" -DMTK_EMULATE="$emulate"
  # No detect_stack_use_after_return: with it gcc 12 misaligns 64-byte vectors on the stack.
  ASAN_OPTIONS="allocator_may_return_null=1" \
    UBSAN_OPTIONS="print_stacktrace=1" TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1" \
    run_tests "build/$kind" "$@"
}

do_fuzz() {
  local seconds="${1:-120}" name corpus status=0
  do_deps
  do_clang_deps
  mkdir -p build
  configure_and_build fuzz -DCMAKE_C_COMPILER=clang -DMTK_FUZZ=ON
  while read -r name corpus; do
    local work="build/fuzz/found/$name" seeds=()
    mkdir -p "$work"
    [ -d "$corpus" ] && seeds=("$corpus")
    echo "fuzzing $name for $seconds s"
    "build/fuzz/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
      -print_final_stats=1 -artifact_prefix="$work.crash-" "$work" "${seeds[@]}" \
      >"$work.log" 2>&1 || {
      tail -40 "$work.log"
      echo "fuzz $name: FAILED (input kept as $work.crash-*)"
      status=1
      continue
    }
    grep -E 'stat::number_of_executed_units|stat::peak_rss_mb' "$work.log"
  done <build/fuzz/gen/fuzz_targets
  return $status
}

verb="${1:-}"
[ $# -gt 0 ] && shift
case "$verb" in
deps) do_deps ;;
clang-deps) do_clang_deps ;; # what fuzz and CI need beyond deps
build) do_build ;;
clang) # the second compiler, for CI
  do_deps
  do_clang_deps
  mkdir -p build
  configure_and_build clang -DCMAKE_C_COMPILER=clang
  ;;
static)
  do_deps
  mkdir -p build
  configure_and_build static -DMTK_STATIC_PLUGINS=ON
  ;;
demo)
  do_build
  exec bash examples/petit/demo.sh "$@"
  ;;
test)
  do_build
  run_tests build/release "$@"
  ;;
bench)
  do_build
  exec bash tests/bench/bench.sh "$@"
  ;;
fuzz) do_fuzz "$@" ;;
asan) do_sanitized asan address ON "$@" ;;
ubsan) do_sanitized ubsan undefined ON "$@" ;;
asan-ubsan) do_sanitized asan-ubsan address,undefined ON "$@" ;; # both at once, for CI
tsan) do_sanitized tsan thread OFF "$@" ;;
emulated)
  do_deps
  mkdir -p build
  configure_and_build emulated -DMTK_EMULATE=ON
  run_tests build/emulated "$@"
  ;;
tidy)
  do_build
  python3 tests/tidy/tidy.py --self-test
  python3 tests/tidy/tidy.py --source . --build build/release
  ;;
install)
  do_build
  prefix="${1:-/usr/local}"
  cmake -S . -B build/release -DCMAKE_INSTALL_PREFIX="$prefix" >/dev/null
  if [ -w "$prefix" ] || mkdir -p "$prefix" 2>/dev/null; then
    cmake --install build/release
  else
    sudo cmake --install build/release
  fi
  ;;
clean) rm -rf build ;;
"" | help | -h | --help) usage ;;
*)
  echo "build.sh: unknown verb '$verb'" >&2
  usage >&2
  exit 2
  ;;
esac
