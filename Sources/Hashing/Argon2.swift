import CArgon2

/// The cost of an argon2id hash (RFC 9106).
public struct Argon2Parameters: Equatable, Sendable {
  /// Passes over the memory, 1 or more.
  public var passes: UInt32
  /// Memory in KiB, at least 8 for each lane.
  public var memoryKiB: UInt32
  /// Lanes, each computed by a thread, 1 or more.
  public var parallelism: UInt32

  /// The cost with these numbers; the defaults are what the system that this one replaced used.
  public init(passes: UInt32 = 6, memoryKiB: UInt32 = 65_536, parallelism: UInt32 = 2) {
    self.passes = passes
    self.memoryKiB = memoryKiB
    self.parallelism = parallelism
  }

  /// Whether the algorithm allows these numbers and `Limits` do.
  public var isValid: Bool {
    (1...Limits.argon2PassesMax).contains(passes) && (1...Limits.argon2ParallelismMax).contains(parallelism)
      && memoryKiB >= 8 * parallelism && memoryKiB <= Limits.argon2MemoryKiBMax
  }

  /// Memory that one computation takes, for admission.
  public var bytes: Int { Int(memoryKiB) * 1024 }
}

/// Argon2id through libargon2. Calls take as long as the parameters say, so they belong on a compute pool.
public enum Argon2 {
  private static let saltBytes = 16
  private static let outputBytes = 32

  /// Hashes `password` with a new random salt into a PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
  /// - Throws: `invalidParameters`, `resourcesExhausted`.
  public static func hash(_ password: [UInt8], parameters: Argon2Parameters) throws(HashingError) -> [UInt8] {
    try hash(password, salt: SystemRandom.bytes(saltBytes), parameters: parameters)
  }

  static func hash(
    _ password: [UInt8], salt: [UInt8], parameters: Argon2Parameters
  ) throws(HashingError) -> [UInt8] {
    guard parameters.isValid else { throw .invalidParameters }
    let room = argon2_encodedlen(
      parameters.passes, parameters.memoryKiB, parameters.parallelism, UInt32(salt.count), UInt32(outputBytes),
      Argon2_id)
    var encoded = [CChar](repeating: 0, count: room)
    let code = argon2id_hash_encoded(
      parameters.passes, parameters.memoryKiB, parameters.parallelism, password, password.count, salt, salt.count,
      outputBytes, &encoded, encoded.count)
    guard code == ARGON2_OK.rawValue else { throw .resourcesExhausted(code: code) }
    return encoded.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  }

  /// What verifying against `encoded` would cost; read before any memory is taken.
  /// - Throws: `malformedHash`, `parametersOutOfBounds`.
  public static func parameters(of encoded: [UInt8]) throws(HashingError) -> Argon2Parameters {
    try PHCString(encoded).parameters
  }

  /// Whether `password` is what `encoded` was made from.
  /// - Throws: `malformedHash`, `parametersOutOfBounds`, `resourcesExhausted`.
  public static func verify(_ password: [UInt8], against encoded: [UInt8]) throws(HashingError) -> Bool {
    _ = try parameters(of: encoded)
    let text = encoded.map { CChar(bitPattern: $0) } + [0]
    let code = argon2_verify(text, password, password.count, Argon2_id)
    switch code {
    case ARGON2_OK.rawValue: return true
    case ARGON2_VERIFY_MISMATCH.rawValue: return false
    case ARGON2_DECODING_FAIL.rawValue: throw .malformedHash
    default: throw .resourcesExhausted(code: code)
    }
  }
}

/// The parts of an argon2id hash in the PHC string format that decide what checking it costs.
struct PHCString {
  let parameters: Argon2Parameters

  init(_ encoded: [UInt8]) throws(HashingError) {
    guard encoded.count <= Limits.argon2EncodedBytesMax else { throw .malformedHash }
    let parts = encoded.split(separator: UInt8(ascii: "$"), omittingEmptySubsequences: false)
    guard parts.count == 6, parts[0].isEmpty, parts[1].elementsEqual("argon2id".utf8),
      parts[2].elementsEqual("v=19".utf8)
    else { throw .malformedHash }
    let costs = parts[3].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
    guard costs.count == 3, let memory = PHCString.number(costs[0], after: "m="),
      let passes = PHCString.number(costs[1], after: "t="), let lanes = PHCString.number(costs[2], after: "p="),
      let saltBytes = PHCString.base64Bytes(parts[4]), let outputBytes = PHCString.base64Bytes(parts[5])
    else { throw .malformedHash }
    parameters = Argon2Parameters(passes: passes, memoryKiB: memory, parallelism: lanes)
    guard parameters.isValid, Limits.argon2SaltBytes.contains(saltBytes),
      Limits.argon2OutputBytes.contains(outputBytes)
    else { throw .parametersOutOfBounds }
  }

  /// The decimal number after `name`; a number too large for its type is cut at the largest, which no bound allows.
  private static func number(_ text: ArraySlice<UInt8>, after name: StaticString) -> UInt32? {
    let name = name.withUTF8Buffer { Array($0) }
    let digits = text.dropFirst(name.count)
    guard text.starts(with: name), let first = digits.first, digits.count <= 20 else { return nil }
    guard first != UInt8(ascii: "0") || digits.count == 1 else { return nil }
    var value: UInt64 = 0
    for digit in digits {
      guard (0x30...0x39).contains(digit) else { return nil }
      value = min(value * 10 + UInt64(digit - 0x30), UInt64(UInt32.max))
    }
    return UInt32(value)
  }

  /// How many bytes unpadded base64 `text` stands for, nil if it is not that.
  private static func base64Bytes(_ text: ArraySlice<UInt8>) -> Int? {
    let isValid = text.allSatisfy {
      switch $0 {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "+"), UInt8(ascii: "/"): true
      default: false
      }
    }
    return isValid && text.count % 4 != 1 ? text.count * 3 / 4 : nil
  }
}
