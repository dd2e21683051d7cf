import Basics

/// What a token says (RFC 7519 §4.1, and `scope` of RFC 8693 §4.2). Times are seconds since the Unix epoch.
public struct TokenClaims: Equatable, Sendable {
  /// Who bears it.
  var subject = ""
  /// What its bearer may do beside what everybody with a token may.
  public var scopes: [String] = []
  /// Who has made it.
  var issuer: String?
  /// For whom it is.
  var audience: [String] = []
  /// When it was made.
  var issuedAt: Double?
  /// From when on it is good.
  var notBefore: Double?
  /// Until when it is good.
  var expiresAt: Double?

  init() {}

  private static let fields = JSONFields("sub", "scope", "iss", "aud", "iat", "nbf", "exp")

  /// Reads the payload of a token: an object in which no claim is there twice.
  /// - Throws: `JSONError`.
  init(json: [UInt8]) throws(JSONError) {
    self = try JSONScanner.read(json) { (scanner) throws(JSONError) in
      var claims = TokenClaims()
      try scanner.object(TokenClaims.fields) { (scanner, field) throws(JSONError) in
        switch field {
        case 0: claims.subject = try scanner.text()
        case 1: claims.scopes = try scanner.text().split(separator: " ").map(String.init)
        case 2: claims.issuer = try scanner.text()
        case 3: claims.audience = try scanner.texts()
        case 4: claims.issuedAt = try scanner.double()
        case 5: claims.notBefore = try scanner.double()
        default: claims.expiresAt = try scanner.double()
        }
      }
      return claims
    }
  }

  /// The payload of a token that says this.
  public var json: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.field("sub", subject)
      if !scopes.isEmpty { json.field("scope", scopes.joined(separator: " ")) }
      if let issuer { json.field("iss", issuer) }
      if audience.count == 1 { json.field("aud", audience[0]) }
      if audience.count > 1 {
        json.key("aud")
        json.array { json in
          for name in audience { json.string(name) }
        }
      }
      for (name, time) in [("iat", issuedAt), ("nbf", notBefore), ("exp", expiresAt)] as [(StaticString, Double?)] {
        if let time { json.field(name, Int64(max(-1e15, min(time, 1e15)))) }
      }
    }
    return json.bytes
  }
}

extension JSONScanner {
  fileprivate mutating func text() throws(JSONError) -> String { String(decoding: try string(), as: UTF8.self) }

  /// One string or an array of them.
  fileprivate mutating func texts() throws(JSONError) -> [String] {
    guard try peek() == .array else { return [try text()] }
    var texts: [String] = []
    try array { (scanner) throws(JSONError) in texts.append(try scanner.text()) }
    return texts
  }
}
