import Basics
import HTTP
import HTTPSyntax
import Hashing
import Reactor
import Telemetry
import TestSupport
import Testing
import Tokens

@testable import API

// One after the other with all others, which wait for answers that a busy machine would delay.
extension APITests {
  @Suite("Who may call what", .timeLimit(.minutes(5))) struct RouteTests {
    /// Every path of an API process, and who may call it. A route that is added has to be added here, too.
    private static let routes = [
      "POST /hash/md5 open", "POST /hash/sha256 open", "POST /hash/argon2 open", "POST /hash/argon2/verify open",
      "GET /stats admin", "POST /hash/batch open",
      "POST /longtask user", "GET /task/{id:int} open", "POST /task/{id:int}/cancel open",
      "GET /task/{id:int}/events open", "GET /tasks open", "GET /hashes open", "GET /health open",
      "GET /process user", "GET /data user", "PUT /data/{key} user", "POST /cache/invalidate user",
      "GET /cache/{key} user", "PUT /cache/{key} user", "DELETE /cache/{key} user",
      "GET /data/complex user", "PUT /data/complex user",
      "GET /cache/stats open", "POST /cache/clear admin", "POST /cache/flush admin",
      "GET /token open", "GET /livez open", "GET /readyz open", "GET /metrics open",
    ]

    private static func authority(_ folder: TemporaryFolder) throws -> TokenAuthority {
      let path = folder.path + "/token.keys"
      try TokenKeys.new(.hs256).store(path: path)
      return try TokenAuthority(keysAt: path)
    }

    @Test("nobody, a user and an admin are let in where they may be, at each route that there is")
    func everyRoute() async throws {
      let folder = TemporaryFolder()
      let tokens = try Self.authority(folder)
      try await onReactor { reactor in
        let api = try await APIHarness.start(
          "routes", redis: nil,
          {
            $0.tokens = tokens
            $0.issuesTokens = true
          }, on: reactor)
        let table = APIService.routes(api.service, metrics: Metrics()).table
        #expect(table.map { "\($0.method.name) \($0.pattern) \($0.access)" }.sorted() == Self.routes.sorted())
        let now = Timestamp.current().seconds
        for route in table {
          for caller in Caller.allCases {
            let scopes = caller == .admin ? ["admin"] : []
            let token = try #require(tokens.token(for: "ann", scopes: scopes, lifetimeSeconds: 60, at: now))
            let fields = [(name: "Authorization", value: "Bearer \(String(decoding: token, as: UTF8.self))")]
            let status = try await api.send(
              route.method, Caller.path(for: route.pattern), fields: caller == .nobody ? [] : fields, on: reactor
            ).status
            let refusal = caller.refusal(from: "\(route.access)")
            #expect(refusal.map { status == $0 } ?? (status != 401 && status != 403), "\(route) \(caller): \(status)")
          }
        }
        await api.stop(on: reactor)
      }
    }

    @Test("where that is switched on, whoever asks gets a token for an hour, and no scope") func token() async throws {
      let folder = TemporaryFolder()
      let tokens = try Self.authority(folder)
      try await onReactor { reactor in
        let api = try await APIHarness.start(
          "token", redis: nil,
          {
            $0.tokens = tokens
            $0.issuesTokens = true
          }, on: reactor)
        let answer = try await api.send(.get, "/token", on: reactor)
        #expect(answer.status == 200 && answer.text.hasPrefix(#"{"token":"ey"#) && answer.text.hasSuffix(#""}"#))
        let now = Timestamp.current().seconds
        let given = Array(answer.text.split(separator: "\"")[3].utf8)
        #expect(try tokens.claims(of: given, at: now + 3600).scopes == [])
        #expect(throws: TokenFault.expired) { try tokens.claims(of: given, at: now + 3600 + 31) }
        // Keys that only verify have taken the place of those of the start.
        try #require(TokenKeys.new(.ed25519).publicPart).store(path: folder.path + "/token.keys")
        let deadline = reactor.now + .seconds(20 as UInt64)
        while try await api.send(.get, "/token", on: reactor).status != 503, reactor.now < deadline {
          await reactor.sleep(for: .milliseconds(10))
        }
        #expect(try await api.send(.get, "/token", on: reactor).status == 503)
        await api.stop(on: reactor)
      }
    }

    @Test("where it is not switched on there is no such path") func noToken() async throws {
      let folder = TemporaryFolder()
      let tokens = try Self.authority(folder)
      try await onReactor { reactor in
        let api = try await APIHarness.start("no_token", redis: nil, { $0.tokens = tokens }, on: reactor)
        #expect(try await api.send(.get, "/token", on: reactor).status == 404)
        await api.stop(on: reactor)
      }
    }
  }
}
