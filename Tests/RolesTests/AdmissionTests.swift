import Basics
import HTTP
import HTTPSyntax
import Hashing
import Reactor
import TestSupport
import Testing

@testable import Roles
@testable import Tokens

/// What is said to whom at a door, and how often.
@Suite("Admission", .timeLimit(.minutes(5))) struct AdmissionTests {
  private static let folder = TemporaryFolder()
  private static let keys = TokenKeys([.random(.hs256), .random(.ed25519)])
  private static let now = Timestamp.current().seconds

  /// Three routes behind a door, for which the file of `keys` and the admin token `s3cret` open it.
  private static func router(trustsLoopback: Bool = false) throws -> Router<Int> {
    let path = folder.path + "/\(UInt64.random(in: 0 ... .max))"
    try keys.store(path: path)
    var rules = TokenRules()
    rules.audience = "mill"
    let tokens = try TokenAuthority(keysAt: path, rules: rules)
    let door = Admission(adminToken: "s3cret", tokens: tokens, trustsLoopback: trustsLoopback)
    let router = Router(0, door: door)
    for (path, access) in [("/open", RouteAccess.open), ("/user", .user), ("/admin", .admin)] {
      router.on(.post, path, access) { (_, _, _) throws(Problem) in .text(200, "done") }
    }
    return router
  }

  private static func ask(
    _ router: Router<Int>, _ path: String, _ authorization: String?, from address: String = "10.0.0.1",
    fields: String = "",
    on reactor: isolated Reactor
  ) async throws -> (status: Int, fields: String, body: String, reason: String?) {
    let line = authorization.map { "Authorization: \($0)\r\n" } ?? ""
    let head = "POST \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\(line)\(fields)\r\n"
    let request = try #require(
      HTTPRequest(
        headBytes: Array(head.utf8), body: [], id: Array("an-id".utf8), peer: SocketAddress(ip: address, port: 1)!))
    let response = await router.answer(request, on: reactor)
    guard case .bytes(let body) = response.body else { return (response.status, "", "", nil) }
    return (
      response.status, String(decoding: response.fields, as: UTF8.self), String(decoding: body, as: UTF8.self),
      response.reason
    )
  }

  private static func token(
    _ change: (inout TokenClaims) -> Void = { _ in }, by key: TokenKey = keys.keys[0]
  ) -> String {
    var claims = TokenClaims()
    (claims.subject, claims.audience, claims.expiresAt) = ("ann", ["mill"], now + 3600)
    change(&claims)
    return String(decoding: TokenKeys([key]).signed(claims)!, as: UTF8.self)
  }

  private static let admin = token { $0.scopes = ["reports", "admin"] }

  @Test(
    "each kind of credentials opens the doors that it is for",
    arguments: [
      (nil, 401, 401), (Self.token(), 200, 403), ("Bearer \(Self.token())", 200, 403),
      ("bearer  \(Self.token(by: Self.keys.keys[1]))", 200, 403), (Self.admin, 200, 200),
      ("Bearer \(Self.admin)", 200, 200),
      ("s3cret", 200, 200), ("Bearer s3cret", 200, 200), ("Bearer s3cre", 401, 401), ("Bearer ", 401, 401),
      ("", 401, 401),
      ("Basic \(Self.admin)", 401, 401), ("Bearer \(Self.token { $0.scopes = ["administrator", "Admin"] })", 200, 403),
    ] as [(String?, Int, Int)])
  func doors(credentials: String?, user: Int, admin: Int) async throws {
    try await onReactor { reactor in
      let router = try Self.router()
      #expect(try await Self.ask(router, "/open", credentials, on: reactor).status == 200)
      #expect(try await Self.ask(router, "/user", credentials, on: reactor).status == user)
      #expect(try await Self.ask(router, "/admin", credentials, on: reactor).status == admin)
    }
  }

  @Test("who shows nothing is told how, who shows too little what is missing, and neither that it was wrong")
  func challenges() async throws {
    try await onReactor { reactor in
      let router = try Self.router()
      #expect(try await Self.ask(router, "/user", nil, on: reactor).fields.contains("WWW-Authenticate: Bearer\r\n"))
      #expect(
        try await Self.ask(router, "/admin", Self.token(), on: reactor).fields.contains(
          "WWW-Authenticate: Bearer error=\"insufficient_scope\", scope=\"admin\"\r\n"))
      #expect(
        try await Self.ask(router, "/user", "x", on: reactor).fields.contains(
          "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n"))
    }
  }

  @Test("whatever is wrong with a token, the client is told the same, and the log what it is") func corpus()
    async throws
  {
    try await onReactor { reactor in
      let router = try Self.router()
      let good = Self.token()
      let parts = good.split(separator: ".").map(String.init)
      let none = String(decoding: Base64URL.encode(#"{"alg":"none"}"#.utf8), as: UTF8.self)
      let stranger = TokenKey(
        id: Self.keys.keys[0].id, algorithm: .hs256, material: .secret(SecretKey.random()))
      let twice = Base64URL.encode(#"{"aud":"mill","exp":9999999999,"exp":1}"#.utf8)
      let message = Array(parts[0].utf8) + [0x2E] + twice
      let duplicate = message + [0x2E] + Base64URL.encode(try #require(Self.keys.keys[0].signature(of: message)))
      let wrong = [
        "", "x", "a.b.c", "\(none).\(parts[1]).", "\(parts[0]).\(parts[1]).", "\(parts[0]).\(parts[1])",
        Self.token(by: stranger), Self.token(by: .random(.hs256)), Self.token(by: .random(.ed25519)),
        Self.token { $0.expiresAt = Self.now - 60 }, Self.token { $0.expiresAt = nil },
        Self.token { $0.notBefore = Self.now + 600 }, Self.token { $0.audience = ["other"] },
        Self.token { $0.audience = [] },
        String(decoding: duplicate, as: UTF8.self), String(repeating: "a.", count: 5000), good + "A", "null",
      ]
      var (bodies, heads, reasons): (Set<String>, Set<String>, Set<String>) = ([], [], [])
      for (index, token) in wrong.enumerated() {
        for path in ["/user", "/admin"] {
          let answer = try await Self.ask(router, path, "Bearer \(token)", from: "10.0.1.\(index)", on: reactor)
          #expect(answer.status == 401, "\(token)")
          bodies.insert(answer.body)
          heads.insert(answer.fields)
          reasons.insert(answer.reason ?? "")
        }
      }
      #expect(bodies.count == 1 && heads.count == 1, "\(bodies) \(heads)")
      for fault in [
        TokenFault.malformed, .unknownKey, .badSignature, .expired, .unexpiring, .notYetValid, .wrongAudience,
      ] {
        #expect(reasons.contains { $0.hasSuffix("(\(fault.rawValue))") }, "\(fault)")
      }
    }
  }

  @Test("who guesses the admin token has to wait, also with the right one; whoever shows a signed one has not")
  func guesses() async throws {
    try await onReactor { reactor in
      let router = try Self.router()
      let expired = Self.token { $0.expiresAt = Self.now - 60 }
      for _ in 0..<(2 * Roles.Limits.wrongTokensMax) {
        #expect(try await Self.ask(router, "/user", expired, on: reactor).status == 401)
        #expect(try await Self.ask(router, "/admin", Self.token(), on: reactor).status == 403)
      }
      for guess in 0..<Roles.Limits.wrongTokensMax {
        #expect(try await Self.ask(router, guess % 2 == 0 ? "/user" : "/admin", "x\(guess)", on: reactor).status == 401)
      }
      let answer = try await Self.ask(router, "/admin", "s3cret", on: reactor)
      #expect(answer.status == 429 && answer.fields.contains("Retry-After: "))
      #expect(try await Self.ask(router, "/admin", "s3cret", from: "10.0.0.2", on: reactor).status == 200)
      // A proxy may stand in between, and all come from its address.
      #expect(try await Self.ask(router, "/user", Self.token(), on: reactor).status == 200)
      #expect(try await Self.ask(router, "/admin", Self.admin, on: reactor).status == 200)
      for _ in 0..<(2 * Roles.Limits.wrongTokensMax) {
        #expect(try await Self.ask(router, "/user", Self.token() + "A", on: reactor).status == 401)
      }
      #expect(try await Self.ask(router, "/open", "x", on: reactor).status == 200)
    }
  }

  @Test("this machine's own users are admins where that is said, and no users without a token") func loopback()
    async throws
  {
    try await onReactor { reactor in
      let router = try Self.router(trustsLoopback: true)
      #expect(try await Self.ask(router, "/admin", nil, from: "127.0.0.1", on: reactor).status == 200)
      #expect(try await Self.ask(router, "/admin", nil, on: reactor).status == 401)
      #expect(try await Self.ask(router, "/user", nil, from: "127.0.0.1", on: reactor).status == 401)
      // Who shows something is judged by it.
      #expect(try await Self.ask(router, "/admin", Self.token(), from: "127.0.0.1", on: reactor).status == 403)
      let forwarded = "X-Forwarded-For: 127.0.0.1\r\n"
      #expect(
        try await Self.ask(router, "/admin", nil, from: "127.0.0.1", fields: forwarded, on: reactor).status == 401)
    }
  }

  @Test("where nothing believes tokens, none is believed") func none() async throws {
    try await onReactor { reactor in
      let router = Router(0, door: Admission(adminToken: nil, trustsLoopback: false))
      router.on(.post, "/user", .user) { (_, _, _) throws(Problem) in .text(200, "done") }
      for token in [Self.token(), Self.admin, ""] {
        let answer = try await Self.ask(router, "/user", token, on: reactor)
        #expect(answer.status == 401)
      }
    }
  }
}
