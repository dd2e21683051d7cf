# What deploy/test-compose and deploy/test-machines share: a Docker of their own, beside whatever else runs, and on a
# machine without an image registry base images under the official names, made of Debian's packages and of this
# machine's own compiler. Images that are there stay.
# shellcheck shell=bash

work=/var/tmp/millrace-docker
export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=0
mirror=http://deb.debian.org/debian
swift_image=swift:6.3-bookworm
debian_image=debian:bookworm-slim
started=$SECONDS

step() { printf '\n%4d s  == %s\n' $((SECONDS - started)) "$*"; }
note() { printf '          %s\n' "$*"; }

# Waits until a command succeeds.
await() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "$what: not within $seconds s"
    sleep 0.2
  done
}

# Starts a Docker, unless one is there that was kept.
start_docker() {
  [ "$(id -u)" -eq 0 ] || die 75 "Run this as root: it starts a Docker of its own."
  mkdir -p "$work"
  docker info >/dev/null 2>&1 && return
  dockerd --data-root "$work/docker" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" -H "$DOCKER_HOST" \
    >"$work/dockerd.log" 2>&1 &
  daemon=$!
  await 60 "dockerd (see $work/dockerd.log)" docker info
}

stop_docker() {
  [ -n "${daemon-}" ] || return 0
  kill "$daemon"
  wait "$daemon" 2>/dev/null || true
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Builds an image from what is read, or from a folder, and shows what it said only if that failed.
build_image() {
  has_image "$1" && return
  docker build -t "$1" "${2--}" >"$work/image.log" 2>&1 || {
    tail -30 "$work/image.log" >&2
    die 1 "The image $1 could not be built."
  }
}

# A plain Debian.
make_debian() {
  local tree=$work/debian
  if [ ! -e "$tree/made" ]; then
    rm -rf "$tree"
    debootstrap --variant=minbase bookworm "$tree" "$mirror" >"$work/debootstrap.log"
    rm -rf "$tree"/var/cache/apt/archives/*.deb
    touch "$tree/made"
  fi
  has_image "$debian_image" || tar -c -C "$tree" --exclude=./made . | docker import - "$debian_image" >/dev/null
}

# The same, with this machine's own compiler but without what only editors and debuggers use, and what a compiler needs.
# Both come in one layer: copied from image to image they would take twice the room and time.
make_swift() {
  local toolchain
  has_image "$swift_image" && return
  toolchain=$(dirname "$(dirname "$(readlink -f "$(command -v swift)")")")
  has_image swift-toolchain || tar -c -C "$work/debian" --exclude=./made . \
    -C "$(dirname "$toolchain")" --transform "s,^$(basename "$toolchain"),opt/swift/usr,S" \
    --exclude='*lldb*' --exclude='*sourcekit*' --exclude='libclang.so*' --exclude='bin/docc' --exclude='bin/clangd' \
    --exclude='bin/swift-format' --exclude='bin/wasmkit' --exclude='lib/swift/embedded' "$(basename "$toolchain")" |
    docker import - swift-toolchain >/dev/null
  build_image "$swift_image" <<'END_OF_FILE'
FROM swift-toolchain
RUN apt-get update -q && apt-get install -y -q --no-install-recommends binutils ca-certificates git libc6-dev \
  libcurl4 libedit2 libgcc-12-dev libncurses6 libpython3.11 libsqlite3-0 libstdc++-12-dev libxml2 tzdata zlib1g-dev
ENV PATH=/opt/swift/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END_OF_FILE
}

# What the official images do as far as compose.yaml asks for it, with the same accounts and folders.
make_servers() {
  mkdir -p "$work/postgres"
  cat >"$work/postgres/entry" <<'END_OF_FILE'
#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust \
    --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 $POSTGRES_INITDB_ARGS
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
  echo "create database \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA" postgres
fi
exec "$@"
END_OF_FILE
  chmod 755 "$work/postgres/entry"
  cat >"$work/postgres/Dockerfile" <<'END_OF_FILE'
FROM debian:bookworm-slim
RUN groupadd -r -g 999 postgres && useradd -r -g 999 -u 999 -d /var/lib/postgresql postgres \
  && apt-get update -q && apt-get install -y -q --no-install-recommends postgresql-15 \
  && install -d -o 999 -g 999 -m 0700 /var/lib/postgresql/data && install -d -o 999 -g 999 /var/run/postgresql
COPY entry /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END_OF_FILE
  build_image postgres:15 "$work/postgres"
  build_image redis:7 <<'END_OF_FILE'
FROM debian:bookworm-slim
RUN groupadd -r -g 999 redis && useradd -r -g 999 -u 999 redis \
  && apt-get update -q && apt-get install -y -q --no-install-recommends redis-server redis-tools
CMD ["redis-server"]
END_OF_FILE
}

# Prometheus is Debian's. Of Grafana there is no package: what stands in for it ends unless its files are where Grafana
# looks for them, and otherwise does nothing.
make_observers() {
  build_image prom/prometheus:v2.53.0 <<'END_OF_FILE'
FROM debian:bookworm-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends prometheus \
  && install -d -o 65534 -g 65534 /prometheus
USER 65534
VOLUME /prometheus
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
END_OF_FILE
  build_image grafana/grafana:11.1.0 <<'END_OF_FILE'
FROM debian:bookworm-slim
RUN install -d -o 472 -g 0 /var/lib/grafana
USER 472
CMD ["sh", "-ec", "cd /etc/grafana && test -s provisioning/datasources/prometheus.yml \
  && test -s provisioning/dashboards/millrace.yml && test -s dashboards/millrace.json \
  && test -s \"$GF_SECURITY_ADMIN_PASSWORD__FILE\" && test -w /var/lib/grafana && exec sleep infinity"]
END_OF_FILE
}
