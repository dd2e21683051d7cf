import Basics
import Reactor
import TLS
import TestSupport
import Testing

@testable import Redis

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite(.timeLimit(.minutes(5))) struct RedisSecurityTests {
  /// A server that is spoken to by TLS alone, and lets in whom its own authority has signed; its user `millrace` may
  /// touch nothing but its own keys and channels, and the one without a name nothing.
  private final class SecureServer: Sendable {
    let host = "127.\(UInt8.random(in: 10...250)).\(UInt8.random(in: 0...250)).\(UInt8.random(in: 2...250))"
    let server: TestServer

    init() throws {
      let certificates = """
        for name in ca other; do
          openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name -keyout $name.key -out $name.crt
        done
        for name in server client; do
          openssl req -newkey rsa:2048 -nodes -subj /CN=$name -addext subjectAltName=DNS:redis.test,IP:127.0.0.1 \
            -keyout $name.key -out $name.csr
          openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copyall -days 2 \
            -out $name.crt
        done
        printf "user default on nopass -@all\\nuser millrace on >geheim ~millrace:* &millrace:* +@all\\n" >users.acl
        """
      server = try TestServer(
        prepare: "RUN sh -ec '\(certificates)'",
        command: """
          redis-server --port 0 --tls-port 6443 --bind \(host) --save "" --aclfile $PWD/users.acl --dir $PWD \
            --tls-cert-file $PWD/server.crt --tls-key-file $PWD/server.key --tls-ca-cert-file $PWD/ca.crt
          """,
        isReady: """
          redis-cli -h \(host) -p 6443 --tls --cacert ca.crt --cert client.crt --key client.key \
            --user millrace --pass geheim --no-auth-warning ping | grep -q PONG
          """, stopSignal: "KILL")
    }

    deinit { server.stop() }

    func file(_ name: String) -> String { server.directory + "/" + name }

    func configuration(
      authority: String = "ca", provesItself: Bool = true, name: String? = "redis.test", password: String = "geheim"
    ) throws -> RedisConfiguration {
      var configuration = RedisConfiguration(endpoint: "\(host):6443")
      (configuration.user, configuration.password) = ("millrace", password)
      configuration.tls = try TLSContext(
        authorities: file("\(authority).crt"), certificate: provesItself ? file("client.crt") : nil,
        key: provesItself ? file("client.key") : nil)
      configuration.tlsName = name
      configuration.commandTimeout = .seconds(10 as UInt64)
      configuration.connectTimeout = .seconds(10 as UInt64)
      return configuration
    }

    /// What comes of an attempt to be let in.
    func outcome(_ configuration: RedisConfiguration) async throws -> String {
      let tools = try Tools()
      return try await onReactor { reactor in
        do {
          let connection = try await RedisLocator(configuration, tools.resolver).connect(on: reactor)
          defer { connection.close(on: reactor) }
          try await connection.logIn(configuration, on: reactor)
          return "let in"
        } catch {
          return "\(error)"
        }
      }
    }
  }

  @Test func `values of any size go and come encrypted, and a user sees its own keys alone`() async throws {
    let server = try SecureServer()
    let configuration = try server.configuration()
    let tools = try Tools()
    let large = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7919 >> 3) }
    try await onReactor { reactor in
      let client = RedisClient(
        configuration, resolver: tools.resolver, logger: tools.logger, metrics: tools.metrics, on: reactor)
      defer { client.close(on: reactor) }
      try await eventually(on: reactor) {
        try await client.set(bytes("millrace:small"), [1], lifetimeMs: 60_000, on: reactor)
      }
      try await client.set(bytes("millrace:large"), large, lifetimeMs: 60_000, on: reactor)
      #expect(try await client.getWithLifetime(bytes("millrace:large"), on: reactor)?.value == large)
      for number in 0..<200 {
        let value = Array(large.prefix(number * 331))
        try await client.set(bytes("millrace:\(number)"), value, lifetimeMs: 60_000, on: reactor)
        #expect(try await client.getWithLifetime(bytes("millrace:\(number)"), on: reactor)?.value == value)
      }
      await #expect(throws: RedisError.self) {
        try await client.set(bytes("others:small"), [1], lifetimeMs: 60_000, on: reactor)
      }
      let heard = Tally()
      let subscriber = RedisSubscriber(
        configuration, channels: [bytes("millrace:news")], resolver: tools.resolver, logger: tools.logger,
        metrics: tools.metrics, receiver: heard, on: reactor)
      defer { subscriber.close(on: reactor) }
      await heard.waitFor(1, on: reactor)
      _ = try await client.publish(bytes("1"), to: bytes("millrace:news"), on: reactor)
      await heard.waitFor(2, on: reactor)
      #expect(heard.log == ["connected", "millrace:news=1"])
    }
  }

  @Test func `who cannot prove who they are is not spoken to, on either side`() async throws {
    let server = try SecureServer()
    #expect(try await server.outcome(server.configuration()) == "let in")
    #expect(try await server.outcome(server.configuration(name: nil)) == "let in")
    #expect(try await server.outcome(server.configuration(name: "127.0.0.1")) == "let in")
    let names = try await server.outcome(server.configuration(name: "elsewhere.test"))
    #expect(names.contains("the server's certificate: hostname mismatch"), "\(names)")
    let address = try await server.outcome(server.configuration(name: "127.0.0.2"))
    #expect(address.contains("the server's certificate: IP address mismatch"), "\(address)")
    let authority = try await server.outcome(server.configuration(authority: "other"))
    #expect(authority.contains("the server's certificate: "), "\(authority)")
    // With TLS 1.3 a server looks at the client's certificate after the client is through.
    let nobody = try await server.outcome(server.configuration(provesItself: false))
    #expect(nobody != "let in", "\(nobody)")
    let password = try await server.outcome(server.configuration(password: "wrong"))
    #expect(password.contains("AUTH refused: WRONGPASS") && !password.contains("wrong:"), "\(password)")
  }

  @Test func `a server that speaks no TLS is given up, and so is a file that is no certificate`() async throws {
    let plain = RedisServer()
    let secure = try SecureServer()
    var configuration = try secure.configuration()
    configuration.endpoint = plain.endpoint
    // It waits for the end of what it takes for a command.
    configuration.connectTimeout = .milliseconds(200)
    #expect(try await secure.outcome(configuration) == "no answer in time")
    #expect(throws: TLSError.self) { _ = try TLSContext(authorities: secure.file("users.acl")) }
    #expect(throws: TLSError.self) { _ = try TLSContext(authorities: secure.file("absent.crt")) }
    #expect(throws: TLSError.self) {
      // The key of another certificate.
      _ = try TLSContext(
        authorities: nil, certificate: secure.file("client.crt"), key: secure.file("server.key"))
    }
  }
}
