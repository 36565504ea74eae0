# Sourced by the tools: makes .venv ready and activates it. Sets ROOT, the repository's folder.
#
# An environment is reused while setup.cfg, pyproject.toml and constraints.txt are as they were
# when it was made. TFGEN_PYTHON names the interpreter to make it with, TFGEN_VENV another place.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="${TFGEN_VENV:-$ROOT/.venv}"
TOOL="$(basename "$0")"

fail() {
  printf '%s: %s\n' "$TOOL" "$*" >&2
  exit 2
}

# The first interpreter that TensorFlow 2.21 has wheels for. Running it is the only safe test: a
# version manager's shim may exist for a version that is not selected.
find_python() {
  local candidate
  for candidate in ${TFGEN_PYTHON:-python3 python3.11 python3.12 python3.13}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
        2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

stamp() {
  (cd "$ROOT" && printf '%s\n' "$ROOT" && cat setup.cfg pyproject.toml constraints.txt) |
    cksum | tr -d ' '
}

make_environment() {
  local python
  echo "$TOOL: installing into $VENV (about 3 GB, some minutes the first time)"
  if [ -e "$VENV" ] && [ ! -e "$VENV/.tfgen-unfinished" ] && [ -x "$VENV/bin/python" ]; then
    # Complete, but the requirements or the folder's place changed: pip brings it up to date.
    "$VENV/bin/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
      fail "$VENV holds another Python than 3.11-3.13: remove it and run this again."
  else
    python="$(find_python)" ||
      fail "Python 3.11, 3.12 or 3.13 is needed and none was found; install one or set TFGEN_PYTHON."
    [ ! -e "$VENV" ] || [ -e "$VENV/.tfgen-unfinished" ] ||
      fail "$VENV exists but holds no environment: remove it and run this again."
    rm -rf "$VENV"
    mkdir -p "$VENV" 2>/dev/null || fail "cannot write to $VENV: choose a place with TFGEN_VENV."
    touch "$VENV/.tfgen-unfinished"
    "$python" -m venv "$VENV" >"$VENV/install.log" 2>&1 ||
      fail "$python cannot make environments (on Debian: apt-get install python3-venv)."
  fi
  touch "$VENV/.tfgen-unfinished"
  if ! "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
      --retries 2 -c "$ROOT/constraints.txt" -e "$ROOT[all]" >"$VENV/install.log" 2>&1; then
    if grep -qE 'NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|ProxyError|ReadTimeout|No matching distribution' "$VENV/install.log"; then
      fail "the package index cannot be reached; connect to the network and run this again (log: $VENV/install.log)."
    fi
    fail "installing failed: $(grep -E '^ERROR' "$VENV/install.log" | tail -n 1) (log: $VENV/install.log)"
  fi
  stamp >"$VENV/.tfgen-stamp"
  rm -f "$VENV/.tfgen-unfinished"
}

if [ -e "$VENV/.tfgen-unfinished" ] || [ ! -x "$VENV/bin/python" ] ||
   [ "$(cat "$VENV/.tfgen-stamp" 2>/dev/null)" != "$(stamp)" ]; then
  make_environment
fi
PATH="$VENV/bin:$PATH"
export PATH VIRTUAL_ENV="$VENV"
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
