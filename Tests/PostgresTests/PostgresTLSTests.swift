import Basics
import Reactor
import TestSupport
import Testing

@testable import Postgres

@Suite(.timeLimit(.minutes(15))) struct PostgresTLSTests {
  /// A server that takes connections by TCP with TLS alone, and proves that it is `postgres.test`.
  private static func server(at host: String) throws -> TestServer {
    let bin = "/usr/lib/postgresql/15/bin"
    let certificates = """
      for name in ca other; do
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name -keyout $name.key -out $name.crt
      done
      openssl req -newkey rsa:2048 -nodes -subj /CN=server -addext subjectAltName=IP:\(host) \
        -keyout server.key -out server.csr
      openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copyall -days 2 \
        -out server.crt
      printf "local all all trust\\nhostssl all all all trust\\n" >data/pg_hba.conf
      """
    return try TestServer(
      prepare:
        "RUN \(bin)/initdb -D data -U postgres -A trust --no-sync -E UTF8 --locale=C && RUN sh -ec '\(certificates)'",
      command: """
        \(bin)/postgres -D data -k $PWD -c listen_addresses=\(host) -c ssl=on -c ssl_cert_file=$PWD/server.crt \
          -c ssl_key_file=$PWD/server.key
        """,
      isReady: "\(bin)/pg_isready -q -h $PWD -U postgres", stopSignal: "INT")
  }

  @Test func `what comes encrypted comes whole, and from whom it should`() async throws {
    let host = "127.\(UInt8.random(in: 10...250)).\(UInt8.random(in: 0...250)).\(UInt8.random(in: 2...250))"
    let server = try Self.server(at: host)
    defer { server.stop() }
    var base = configuration(server)
    base.hosts = [host]
    base.tls = ("verify-full", server.directory + "/ca.crt", nil, nil)
    let right = base
    base.tls.authorities = server.directory + "/other.crt"
    let wrong = base
    base.tls = ("disable", nil, nil, nil)
    let plain = base
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(right, helpers: helpers, on: reactor)
      defer { connection.close(on: reactor) }
      let used = try await connection.execute(
        statement("select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"), on: reactor)
      #expect(used.text(0, 0) == "true")
      // Rows of all sizes around that of a record, and of libpq's buffer.
      for size in [1, 8000, 8192, 16_383, 16_384, 16_385, 40_000, 3_000_000] {
        let rows = try await connection.execute(
          statement("select repeat('x', \(size)) from generate_series(1, \(1 + 100_000 / size))"), on: reactor)
        #expect(rows.rowCount == 1 + 100_000 / size)
        #expect((0..<rows.rowCount).allSatisfy { rows.bytes($0, 0)?.count == size }, "\(size)")
      }
      for (refused, reason) in [(wrong, "certificate verify failed"), (plain, "no pg_hba.conf entry")] {
        do {
          let connection = try await PostgresConnection.connect(refused, helpers: helpers, on: reactor)
          connection.close(on: reactor)
          Issue.record("was let in")
        } catch {
          #expect("\(error)".contains(reason), "\(error)")
        }
      }
    }
  }
}
