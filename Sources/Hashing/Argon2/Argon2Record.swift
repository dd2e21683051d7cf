import Basics
import CArgon2

/// What a PHC string of argon2id tells, `$argon2id$v=19$m=65536,t=6,p=2$salt$hash`: all that it takes to find out
/// whether a password is the one that it was made of.
public struct Argon2Record: Equatable, Sendable {
  /// What it cost to make, and costs to verify.
  public let parameters: Argon2Parameters
  let salt: [UInt8]
  let output: [UInt8]

  /// The record in `text`, nil if that is none of version 19 in the spelling above, or its numbers are beyond what this
  /// program ever computes. Salts have 8 to 64 bytes and outputs 12 to 64.
  public init?(_ text: [UInt8]) {
    guard text.count <= Limits.argon2RecordBytesMax else { return nil }
    let parts = text.split(separator: UInt8(ascii: "$"), omittingEmptySubsequences: false)
    guard parts.count == 6, parts[0].isEmpty, parts[1].elementsEqual("argon2id".utf8),
      parts[2].elementsEqual("v=19".utf8)
    else { return nil }
    let costs = parts[3].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
    guard costs.count == 3, let memory = Argon2Record.number(costs[0], "m="),
      let passes = Argon2Record.number(costs[1], "t="), let parallelism = Argon2Record.number(costs[2], "p="),
      let salt = Argon2Record.decoded(parts[4], 8...64), let output = Argon2Record.decoded(parts[5], 12...64)
    else { return nil }
    parameters = Argon2Parameters(passes: passes, memoryKiB: memory, parallelism: parallelism)
    self.salt = salt
    self.output = output
    guard parameters.isValid else { return nil }
  }

  /// Whether `password` is the one that the record was made of. Takes as long as its parameters say, so it belongs on a
  /// compute pool.
  /// - Throws: `resourcesExhausted`.
  public func matches(_ password: [UInt8]) throws(HashingError) -> Bool {
    var computed = [UInt8](repeating: 0, count: output.count)
    let code = Argon2.withContext(password, salt, parameters, output: &computed) { argon2id_ctx(&$0) }
    guard code == ARGON2_OK.rawValue else { throw .resourcesExhausted(code: code) }
    return SecretBytes.areEqual(computed[...], output)
  }

  /// A decimal number without leading zeros behind `name`.
  private static func number(_ text: ArraySlice<UInt8>, _ name: StaticString) -> UInt32? {
    guard text.starts(with: name.description.utf8) else { return nil }
    let digits = text.dropFirst(2)
    guard 1...10 ~= digits.count, digits.first != 0x30, digits.allSatisfy({ 0x30...0x39 ~= $0 }) else { return nil }
    return UInt32(String(decoding: digits, as: UTF8.self))
  }

  /// Base 64 without padding, with the usual alphabet.
  private static func decoded(_ text: ArraySlice<UInt8>, _ sizes: ClosedRange<Int>) -> [UInt8]? {
    let alphabet: [UInt8: UInt8] = [0x2B: 0x2D, 0x2F: 0x5F]
    guard !text.contains(where: alphabet.values.contains) else { return nil }
    guard let bytes = Base64URL.decode(text.map { alphabet[$0] ?? $0 }), sizes ~= bytes.count else { return nil }
    return bytes
  }
}
