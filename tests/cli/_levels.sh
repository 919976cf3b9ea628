# shellcheck shell=bash
# _levels.sh: sourced by _common.sh and _models.sh. Needs MTK (the binary) and fail.

# levels_of COMMAND...: the levels of instructions that this machine has, in one line. COMMAND works
# at these and is refused at the others.
levels_of() {
  local level text found=""
  for level in ref avx2 avx512 amx; do
    if text="$(MTK_CPU=$level "$@" 2>&1 >/dev/null </dev/null)"; then
      found+=" $level"
    else
      case "$text" in
      *"cannot run the kernel level"*) echo "SKIP level $level: not on this machine" >&2 ;;
      *) fail "MTK_CPU=$level $*: $text" ;;
      esac
    fi
  done
  case "$found" in " ref"*) echo "$found" ;; *) fail "no level ref: $*" ;; esac
}
