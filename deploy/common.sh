# What deploy/run and deploy/test share: finding what is missing and installing it.
# shellcheck shell=bash

# To build: the libraries' headers. To run: the servers that are started, and the tools that the texts speak of.
build_packages=(pkg-config libpq-dev libhiredis-dev libargon2-dev libssl-dev libsqlite3-dev)
run_packages=(postgresql postgresql-client redis-server redis-tools curl openssl)

say() { printf '%s\n' "$*" >&2; }

die() {
  local code=$1
  shift
  say "$@"
  exit "$code"
}

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Installs the named Debian packages that are missing; becomes root only if there are any.
install_packages() {
  local missing=() package as_root=()
  command -v dpkg-query >/dev/null ||
    die 75 "This script installs Debian packages. On another system install the likes of: $*"
  for package in "$@"; do is_installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return
  say "Installing the missing packages: ${missing[*]}"
  case " ${missing[*]} " in
    *" postgresql "* | *" redis-server "*)
      say "Debian starts services of its own with postgresql and redis-server, on ports 5432 and 6379. Millrace needs"
      say "only their programs; to be rid of the services:  systemctl disable --now postgresql redis-server"
      ;;
  esac
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die 75 "Run this as root:  apt-get install ${missing[*]}"
    say "This needs root; sudo may ask for your password."
    as_root=(sudo)
  fi
  # The lists may be old or absent: only if the first attempt fails are they fetched.
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
  "${as_root[@]}" "${install[@]}" >&2 || {
    "${as_root[@]}" apt-get update -q >&2 && "${as_root[@]}" "${install[@]}" >&2
  } || die 75 "The packages could not be installed; see above."
}

# Puts a Swift toolchain into PATH, or says how to get one and stops.
need_swift() {
  local folder version
  for folder in /opt/swift/usr/bin /usr/local/swift/usr/bin "${HOME-}/.local/share/swiftly/bin" "${HOME-}/.swiftly/bin"; do
    command -v swift >/dev/null && break
    [ -x "$folder/swift" ] && PATH=$folder:$PATH
  done
  command -v swift >/dev/null || die 75 "There is no Swift toolchain. Install Swift 6.2 or newer and start again:
  curl -O https://download.swift.org/swiftly/linux/swiftly-\$(uname -m).tar.gz
  tar zxf swiftly-\$(uname -m).tar.gz && ./swiftly init
or see https://www.swift.org/install/linux/"
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  [ "$(printf '6.2\n%s\n' "$version" | sort -V | head -n 1)" = 6.2 ] ||
    die 75 "Swift 6.2 or newer is needed; this is ${version:-unknown}."
}
